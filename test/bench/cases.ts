/** What is compared, and what is to be reached. */
import { attachDevice } from './devices.ts';
import type { BenchImage, ImageName } from './images.ts';
import { DISK_BYTES, TEBIBYTE } from './images.ts';
import { makeLink } from './link.ts';
import type { Cleanup } from './shell.ts';
import { startStore } from './store.ts';
import type { Scene, Way } from './ways.ts';
import { OURS, download, nbdkit, ours, qemuImgOfCached, thenQemuImg, write } from './ways.ts';

export interface Goal {
  readonly way: string;
  /**
   * `ratio`: our seconds divided by those of that way. `peak`: largest memory of that way, in MB. `sent`: what the
   * store sends for it, divided by the object's size.
   */
  readonly kind: 'ratio' | 'peak' | 'sent';
  readonly max: number;
}

/** What a case is played with. */
export interface Stage {
  readonly image: BenchImage;
  readonly others: readonly BenchImage[];
  readonly scene: Scene;
  readonly hasNbdkit: boolean;
  readonly cleanup: Cleanup;
}

export interface Case {
  readonly name: string;
  readonly title: string;
  readonly image: ImageName;
  readonly others?: readonly ImageName[];
  /** What else the report says about it. */
  readonly note?: string;
  /** At its fullest: store, volumes and a download. */
  readonly roomBytes: number;
  readonly goals: readonly Goal[];
  /** The volume is emptied before every way: zeros that were written out, and a download, are too much memory. */
  readonly isTrimmed?: boolean;
  /** The first is ours. */
  readonly ways: (stage: Stage) => readonly Way[] | Promise<readonly Way[]>;
}

const GB = 1e9;
const VOLUMES_AT_ONCE = 8;

const ratio = (way: string, max: number): Goal => ({ way, kind: 'ratio', max });
const peak = (way: string, max: number): Goal => ({ way, kind: 'peak', max });
/** Heads of answers, and tables that are read before the object is. */
const ONE_DOWNLOAD: Goal = { way: OURS, kind: 'sent', max: 1.1 };

export const CASES: readonly Case[] = [
  {
    ...{
      name: 'raw',
      title: 'Raw, 10 GiB as one object',
      image: 'raw',
      roomBytes: 13.5 * GB,
      isTrimmed: true,
    },
    note: 'Every way begins with an empty file behind the loop device.',
    goals: [ratio('curl, qemu-img', 0.5)],
    ways: usualWays,
  },
  {
    ...{ name: 'qcow2', title: 'qcow2, not compressed', image: 'qcow2', roomBytes: 3 * GB },
    goals: [ratio('curl, qemu-img', 0.5), ratio('curl, sha256sum, qemu-img', 0.25)],
    ways: usualWays,
  },
  {
    ...{ name: 'zlib', title: 'qcow2, compressed with zlib', image: 'zlib', roomBytes: 2 * GB },
    goals: [ratio('curl, qemu-img', 0.5)],
    ways: usualWays,
  },
  {
    ...{ name: 'zstd', title: 'qcow2, compressed with zstd', image: 'zstd', roomBytes: 2 * GB },
    goals: [ratio('curl, qemu-img', 0.6)],
    ways: usualWays,
  },
  {
    ...{ name: 'large', title: 'A large qcow2, not compressed', image: 'large', roomBytes: 15.6 * GB },
    goals: [],
    ways: usualWays,
  },
  {
    ...{ name: 'tls', title: 'qcow2 over TLS', image: 'qcow2', roomBytes: 3.5 * GB },
    note: 'The store is a second MinIO, with a certificate that is checked.',
    goals: [ratio('lvp without TLS', 1.3)],
    ways: tlsWays,
  },
  {
    ...{ name: 'gigabit', title: 'qcow2 over a link of 1 Gbit/s', image: 'qcow2', roomBytes: 3 * GB },
    note: 'Downloads go into a network namespace that a token bucket (tc tbf) lets 1 Gbit/s into.',
    goals: [ratio('download only', 1.03)],
    ways: gigabitWays,
  },
  {
    ...{ name: 'cached', title: 'A second volume, from the image cache', image: 'qcow2', roomBytes: 3 * GB },
    note: 'Both read the same file, which an earlier fill has put into the cache; lvp verifies it again.',
    goals: [ratio('qemu-img from the same file', 0.9)],
    ways: ({ image, scene }) => [
      ours(image, scene, { cacheBytes: 2 * image.sizeBytes }),
      qemuImgOfCached(image, scene),
      write(image, scene.devices),
    ],
  },
  {
    ...{ name: 'eight', title: 'Eight volumes of one image at once', image: 'qcow2', roomBytes: 9 * GB },
    note: 'One process fills all of them at once, as the daemon does, with one download; the writes are dd to each.',
    goals: [ONE_DOWNLOAD, ratio('8 writes alone', 1.2)],
    ways: eightWays,
  },
  {
    ...{ name: 'memory', title: 'Memory', image: 'zstd', others: ['tebibyte'], roomBytes: 5 * GB },
    note: 'Fills at once download for themselves here, as fills of different images do.',
    goals: [
      peak(OURS, 130),
      peak('lvp, 2 fills', 170),
      peak('lvp, 4 fills', 250),
      peak('lvp, a disk of 1 TiB', 130),
    ],
    ways: memoryWays,
  },
];

function usualWays({ image, scene, hasNbdkit }: Stage): Way[] {
  return [
    ...[ours(image, scene), download(image, scene), write(image, scene.devices)],
    ...thenQemuImg(image, scene),
    ...(hasNbdkit ? [nbdkit(image, scene)] : []),
  ];
}

async function tlsWays({ image, scene, cleanup }: Stage): Promise<Way[]> {
  const images = [image, scene.warm.image];
  const store = await startStore(`${scene.folder}/tls`, scene.store.port + 1, images, true, cleanup);
  const secure = { ...scene, store, url: store.url };
  return [
    ...[ours(image, secure), ours(image, scene, { name: 'lvp without TLS' }), download(image, secure)],
    ...thenQemuImg(image, secure),
  ];
}

function gigabitWays({ image, scene, cleanup }: Stage): Way[] {
  const { prefix, host } = makeLink(cleanup);
  const far = { ...scene, prefix, url: `http://${host}:${scene.store.port}` };
  return [ours(image, far), download(image, far), ...thenQemuImg(image, far)];
}

function eightWays({ image, scene, cleanup }: Stage): Way[] {
  const devices = volumes(VOLUMES_AT_ONCE, scene, cleanup);
  return [
    ours(image, scene, { devices }),
    write(image, devices, '8 writes alone'),
    ours(image, scene, { name: 'lvp, one volume' }),
    download(image, scene),
  ];
}

/** Each fill with a download of its own, as fills of different images are. */
function memoryWays({ image, others: [vast = image], scene, cleanup }: Stage): Way[] {
  const devices = volumes(4, scene, cleanup);
  const fills = (count: number, name?: string) =>
    ours(image, scene, { devices: devices.slice(0, count), isApart: true, ...(name && { name }) });
  const vastDevice = attachDevice(scene.folder, 'vast', TEBIBYTE, cleanup);
  return [
    ...[fills(1), fills(2, 'lvp, 2 fills'), fills(4, 'lvp, 4 fills')],
    ours(vast, scene, { devices: [vastDevice], name: 'lvp, a disk of 1 TiB' }),
  ];
}

/** The one that every case has, and more like it. */
function volumes(count: number, { devices, folder }: Scene, cleanup: Cleanup): string[] {
  const all = [...devices];
  for (let index = all.length; index < count; index++) {
    all.push(attachDevice(folder, `volume${index}`, DISK_BYTES, cleanup));
  }
  return all;
}

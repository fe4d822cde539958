/**
 * npm run bench [-- --case NAME] [--runs N] [--folder DIR] [--write]: how fast volumes are filled, beside what
 * a person would type instead. Needs root, loop devices, qemu-img and 6 GB of memory; nbdkit if it is there.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { CaseName, Place, Way } from './cases.ts';
import { CASES, download, imageOf, nbdkit, ours, thenQemuImg, write } from './cases.ts';
import { attachDevice, makeLink } from './devices.ts';
import type { BenchImage, ImageName } from './images.ts';
import { diskPath, makeImages } from './images.ts';
import { measure } from './measure.ts';
import type { CaseResult } from './report.ts';
import { reportText } from './report.ts';
import { Cleanup, run, timed } from './shell.ts';
import { KEYS, startStore } from './store.ts';

const PORT = 19_400;
const VOLUMES_AT_ONCE = 8;
const REPORT = join(import.meta.dirname, '../../docs/performance.md');

const { values } = parseArgs({
  options: {
    case: { type: 'string', multiple: true },
    runs: { type: 'string', default: '5' },
    folder: { type: 'string', default: '/dev/shm/lvp-bench' },
    write: { type: 'boolean', default: false },
  },
});

type Images = Record<ImageName, BenchImage>;

async function bench(names: readonly CaseName[], runs: number, folder: string): Promise<string> {
  const cleanup = new Cleanup();
  try {
    mkdirSync(folder, { recursive: true });
    const images = makeImages(folder);
    const { port } = await startStore(folder, PORT, Object.values(images), false, cleanup);
    const place: Place = {
      ...{ folder, url: `http://127.0.0.1:${port}`, caPath: '', prefix: '' },
      devices: [attachDevice(folder, 'volume0', cleanup)],
    };
    const results: CaseResult[] = [];
    for (const name of names) {
      process.stderr.write(`${name} `);
      const ways = await waysOf(name, images, place, cleanup);
      await verify(name, images, place);
      results.push({ name, measured: await measure(ways, runs) });
    }
    const command = ['npm run bench', ...process.argv.slice(2)].join(' ').replace('bench -', 'bench -- -');
    return reportText(results, images, command, runs);
  } finally {
    await cleanup.all();
  }
}

async function waysOf(name: CaseName, images: Images, place: Place, cleanup: Cleanup): Promise<Way[]> {
  const image = images[imageOf(name)];
  const dataBytes = name === 'raw' ? image.sizeBytes : images.qcow2.sizeBytes;
  const limits = [download(image, place), write(dataBytes, place)];
  if (name === 'tls') {
    const folder = join(place.folder, 'tls');
    mkdirSync(folder, { recursive: true });
    const { port, caPath } = await startStore(folder, PORT + 1, [image], true, cleanup);
    const secure = { ...place, url: `https://127.0.0.1:${port}`, caPath };
    return [ours(image, secure), download(image, secure), ours(image, place, 'lvp without TLS')];
  }
  if (name === 'gigabit') {
    const { prefix, host } = makeLink(cleanup);
    const far = { ...place, prefix, url: `http://${host}:${PORT}` };
    return [ours(image, far), download(image, far), ...thenQemuImg(image, far)];
  }
  if (name === 'eight') {
    const more = Array.from({ length: VOLUMES_AT_ONCE - 1 }, (_, index) =>
      attachDevice(place.folder, `volume${index + 1}`, cleanup),
    );
    const many = { ...place, devices: [...place.devices, ...more] };
    return [ours(image, many), ours(image, place, 'lvp, one volume'), ...limits];
  }
  const isThere = spawnSync('nbdkit', ['--version']).status === 0;
  return [
    ...[ours(image, place), ...limits, ...thenQemuImg(image, place)],
    ...(isThere ? [nbdkit(image, place)] : []),
  ];
}

/** What is measured must be right: the volume's bytes are the disk's, or zeros behind it. */
async function verify(name: CaseName, images: Images, place: Place): Promise<void> {
  const image = images[imageOf(name)];
  const [device = ''] = place.devices;
  await timed(`dd if=/dev/urandom of=${device} bs=4M count=16 seek=2000 oflag=direct status=none`, {});
  await timed(ours(image, place).line, KEYS);
  const expected = image.format === 'raw' ? image.path : diskPath(place.folder);
  run('bash', [
    '-c',
    `cmp "$0" <(cat "$1"; head -c $(( $(blockdev --getsize64 "$0") - $(stat -c %s "$1") )) /dev/zero)`,
    device,
    expected,
  ]);
}

function isCase(name: string): name is CaseName {
  return (CASES as readonly string[]).includes(name);
}

const names = values.case ?? CASES;
if (!names.every(isCase)) throw new Error(`there are the cases ${CASES.join(', ')}`);
const text = await bench(names, Number(values.runs), values.folder);
process.stdout.write(text);
if (values.write) writeFileSync(REPORT, text);

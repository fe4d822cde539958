/** Our way from a store to a volume, and those a person would pick, as command lines. */
import { join } from 'node:path';
import type { BenchImage } from './images.ts';
import type { Store } from './store.ts';

export interface Way {
  readonly name: string;
  readonly line: string;
  /** Its own clock, memory and processor time are in its output; the others are timed from outside. */
  readonly isOurs: boolean;
  /** What ours fills. */
  readonly devices?: readonly string[];
}

/** Where the ways of a case run. */
export interface Scene {
  readonly folder: string;
  readonly store: Store;
  /** Other than the store's own, seen from the far end of a link. */
  readonly url: string;
  /** Before every command; `ip netns exec …` for the slow link. */
  readonly prefix: string;
  readonly devices: readonly string[];
  /** What our program fills before its clock starts. */
  readonly warm: { readonly image: BenchImage; readonly device: string };
}

export interface OursOptions {
  readonly name?: string;
  readonly devices?: readonly string[];
  /** Of the host's cache of images. */
  readonly cacheBytes?: number;
  /** Every fill downloads for itself. */
  readonly isApart?: boolean;
}

export const OURS = 'lvp';
const WRITE_IMAGE = join(import.meta.dirname, 'write-image.ts');

export function ours(image: BenchImage, scene: Scene, options: OursOptions = {}): Way {
  const { name = OURS, devices = scene.devices.slice(0, 1), cacheBytes = 0, isApart = false } = options;
  const { folder, store, warm } = scene;
  const words = [
    // As the unit of the daemon sets it.
    ...['env', `NODE_COMPILE_CACHE=${join(folder, 'modules')}`, 'NODE_OPTIONS=--max-semi-space-size=1'],
    ...['MALLOC_ARENA_MAX=2', `BENCH_CA=${store.caPath}`, process.execPath, WRITE_IMAGE],
    ...['--warm', [warm.image.key, warm.image.sha256, warm.device].join(',')],
    ...['--state', stateFolder(scene), '--cache', cacheBytes, ...(isApart ? ['--apart'] : [])],
    ...['--store', store.pid, scene.url, `images/${image.key}`, image.format, image.sha256, ...devices],
  ];
  return { name, line: `${scene.prefix} ${words.join(' ')}`, isOurs: true, devices };
}

export function download(image: BenchImage, scene: Scene): Way {
  return { name: 'download only', line: curl(image, scene, '/dev/null'), isOurs: false };
}

/** As many bytes as the image has data, to each of the devices at the same time. */
export function write(image: BenchImage, devices: readonly string[], name = 'write only'): Way {
  const count = Math.ceil(image.dataBytes / 2 ** 22);
  const dd = `dd if=/dev/zero of=$device bs=4M count=${count} oflag=direct conv=fdatasync status=none`;
  const line = `for device in ${devices.join(' ')}; do ${dd} & done; for job in $(jobs -p); do wait $job; done`;
  return { name, line, isOurs: false };
}

/** Without and with a check of the digest. */
export function thenQemuImg(image: BenchImage, scene: Scene): Way[] {
  const file = downloadedFile(scene);
  const check = `echo "${image.sha256}  ${file}" | sha256sum --check --quiet`;
  const get = curl(image, scene, file);
  const convert = qemuImg(image, file, scene);
  return [
    { name: 'curl, qemu-img', line: `${get}; ${convert}`, isOurs: false },
    { name: 'curl, sha256sum, qemu-img', line: `${get}; ${check}; ${convert}`, isOurs: false },
  ];
}

/** From the file that our cache holds; its name is its digest. */
export function qemuImgOfCached(image: BenchImage, scene: Scene): Way {
  const file = join(stateFolder(scene), 'cache', image.sha256);
  return { name: 'qemu-img from the same file', line: qemuImg(image, file, scene), isOurs: false };
}

export function nbdkit(image: BenchImage, scene: Scene): Way {
  const [device = ''] = scene.devices;
  const isRaw = image.format === 'raw';
  const copy = isRaw ? `nbdcopy --flush "$uri" ${device}` : qemuImg(image, '"$uri"', scene, '');
  const line = `nbdkit --exit-with-parent -U - curl ${scene.url}/images/${image.key} --run '${copy}'`;
  return { name: `nbdkit curl, ${isRaw ? 'nbdcopy' : 'qemu-img'}`, line, isOurs: false };
}

/** What a download is kept in; it goes before the next way begins. */
export function downloadedFile({ folder }: Scene): string {
  return join(folder, 'downloaded');
}

function stateFolder({ folder }: Scene): string {
  return join(folder, 'state');
}

function qemuImg(image: BenchImage, source: string, scene: Scene, sourceCache = '-T none'): string {
  const [device = ''] = scene.devices;
  return `qemu-img convert -n -t none ${sourceCache} -f ${image.format} -O raw ${source} ${device}`;
}

function curl(image: BenchImage, { prefix, url, store }: Scene, target: string): string {
  const ca = store.caPath === '' ? '' : `--cacert ${store.caPath}`;
  return `${prefix} curl --silent --fail ${ca} --output ${target} ${url}/images/${image.key}`;
}

/** What is compared: for each case, our way and the ways a person would pick, as command lines. */
import { join } from 'node:path';
import type { BenchImage, ImageName } from './images.ts';

export interface Place {
  readonly folder: string;
  readonly url: string;
  readonly caPath: string;
  readonly devices: readonly string[];
  /** Before every command; `ip netns exec …` for the slow link. */
  readonly prefix: string;
}

export interface Way {
  readonly name: string;
  readonly line: string;
  /** Its own clock and memory are in its output; the others are timed from outside. */
  readonly isOurs: boolean;
}

export type CaseName = ImageName | 'tls' | 'gigabit' | 'eight';
export const CASES: readonly CaseName[] = ['raw', 'qcow2', 'zlib', 'zstd', 'tls', 'gigabit', 'eight'];

export const OURS = 'lvp';
const WRITE_IMAGE = join(import.meta.dirname, 'write-image.ts');

export function imageOf(name: CaseName): ImageName {
  return name === 'tls' || name === 'gigabit' || name === 'eight' ? 'qcow2' : name;
}

export function ours(image: BenchImage, place: Place, name = OURS): Way {
  const words = [place.url, `images/${image.key}`, image.format, image.sha256, ...place.devices];
  // As the unit of the daemon sets it.
  const cache = `NODE_COMPILE_CACHE=${join(place.folder, 'modules')}`;
  const settings = `${cache} NODE_OPTIONS=--max-semi-space-size=1 MALLOC_ARENA_MAX=2 BENCH_CA=${place.caPath}`;
  const line = `${place.prefix} env ${settings} ${process.execPath} ${WRITE_IMAGE} ${words.join(' ')}`;
  return { name, line, isOurs: true };
}

export function download(image: BenchImage, place: Place): Way {
  return { name: 'download only', line: curl(image, place, '/dev/null'), isOurs: false };
}

/** As many bytes as the image has data. */
export function write(dataBytes: number, place: Place): Way {
  const count = Math.ceil(dataBytes / 2 ** 22);
  const line = `dd if=/dev/zero of=${place.devices[0] ?? ''} bs=4M count=${count} oflag=direct conv=fdatasync status=none`;
  return { name: 'write only', line, isOurs: false };
}

/** Without and with a check of the digest. */
export function thenQemuImg(image: BenchImage, place: Place): Way[] {
  const file = join(place.folder, 'downloaded');
  const convert = `qemu-img convert -n -t none -T none -f ${image.format} -O raw ${file} ${place.devices[0] ?? ''}`;
  const check = `echo "${image.sha256}  ${file}" | sha256sum --check --quiet`;
  const get = curl(image, place, file);
  return [
    { name: 'curl, qemu-img', line: `${get}; ${convert}`, isOurs: false },
    { name: 'curl, sha256sum, qemu-img', line: `${get}; ${check}; ${convert}`, isOurs: false },
  ];
}

export function nbdkit(image: BenchImage, place: Place): Way {
  const target = place.devices[0] ?? '';
  const convert = `qemu-img convert -n -t none -f ${image.format} -O raw "$uri" ${target}`;
  const line = `nbdkit --exit-with-parent -U - curl ${place.url}/images/${image.key} --run '${convert}'`;
  return { name: 'nbdkit curl, qemu-img', line, isOurs: false };
}

function curl(image: BenchImage, { prefix, url, caPath }: Place, target: string): string {
  const ca = caPath === '' ? '' : `--cacert ${caPath}`;
  return `${prefix} curl --silent --fail ${ca} --output ${target} ${url}/images/${image.key}`;
}

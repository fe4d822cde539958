/** The images: files of this machine in an ext4 file system, as raw, qcow2, zlib and zstd. Made once. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './shell.ts';

export interface BenchImage {
  readonly path: string;
  readonly key: string;
  readonly format: 'raw' | 'qcow2';
  readonly sizeBytes: number;
  readonly sha256: string;
}

export const DISK_BYTES = 10 * 1024 ** 3;
const FILES_BYTES = 700_000_000;
/** A raw object is as long as its disk: 10 GiB of it would measure the download of zeros. */
const RAW_DISK_BYTES = 900 * 1024 * 1024;

export type ImageName = 'raw' | 'qcow2' | 'zlib' | 'zstd';

/** The disk all qcow2 images were made of. */
export function diskPath(folder: string): string {
  return join(folder, 'disk.raw');
}

export function makeImages(folder: string): Record<ImageName, BenchImage> {
  const path = (name: string) => join(folder, name);
  if (!existsSync(path('zstd.qcow2'))) {
    mkdirSync(path('files'), { recursive: true });
    copyFiles(path('files'));
    for (const [disk, sizeBytes] of [
      [diskPath(folder), DISK_BYTES],
      [path('small.raw'), RAW_DISK_BYTES],
    ] as const) {
      rmSync(disk, { force: true });
      run('truncate', ['--size', String(sizeBytes), disk]);
      run('mkfs.ext4', ['-q', '-O', '^has_journal', '-d', path('files'), disk]);
    }
    rmSync(path('files'), { recursive: true });
    const convert = (target: string, ...options: string[]) =>
      run('qemu-img', ['convert', '-O', 'qcow2', ...options, diskPath(folder), path(target)]);
    convert('plain.qcow2');
    convert('zlib.qcow2', '-c');
    convert('zstd.qcow2', '-c', '-o', 'compression_type=zstd');
  }
  const image = (key: string, format: 'raw' | 'qcow2'): BenchImage => ({
    ...{ path: path(key), key, format, sizeBytes: statSync(path(key)).size },
    sha256: run('sha256sum', [path(key)]).slice(0, 64),
  });
  return {
    raw: image('small.raw', 'raw'),
    qcow2: image('plain.qcow2', 'qcow2'),
    zlib: image('zlib.qcow2', 'qcow2'),
    zstd: image('zstd.qcow2', 'qcow2'),
  };
}

/** Programs, libraries and texts, as they stand in any root file system; in a fixed order. */
function copyFiles(target: string): void {
  const choose = `{ total += $1; if (total < ${FILES_BYTES}) print $2 }`;
  const line = `cd /usr && find lib share bin -xdev -type f -printf '%s %p\\n' | LC_ALL=C sort -k2 |
    awk '${choose}' | tar cf - -T - | tar xf - -C "$0"`;
  execFileSync('bash', ['-c', line, target], { stdio: ['ignore', 'ignore', 'inherit'] });
}

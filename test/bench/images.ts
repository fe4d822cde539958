/**
 * The images, made when a case first wants them. They lie on the disk and are only read to be put into a store
 * and to compare a volume with: memory is for what is measured.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { run, timed } from './shell.ts';

export interface BenchImage {
  readonly path: string;
  readonly key: string;
  readonly format: 'raw' | 'qcow2';
  readonly sizeBytes: number;
  /** Of the disk, what is not zeros. */
  readonly dataBytes: number;
  readonly virtualBytes: number;
  readonly sha256: string;
}

export type ImageName = 'raw' | 'qcow2' | 'zlib' | 'zstd' | 'large' | 'tebibyte' | 'tiny';

const MIB = 1024 ** 2;
export const DISK_BYTES = 10 * 1024 ** 3;
export const LARGE_DISK_BYTES = 12 * 1024 ** 3;
export const TEBIBYTE = 1024 ** 4;
export const TINY_DISK_BYTES = 64 * MIB;
/** Gives about 750 MB of data in ext4: blocks of zeros within files become holes. */
const FILES_BYTES = 815_000_000;

export class ImageSources {
  readonly #folder: string;
  readonly #made = new Map<ImageName, Promise<BenchImage>>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  image(name: ImageName): Promise<BenchImage> {
    const making = this.#made.get(name) ?? this.#make(name);
    this.#made.set(name, making);
    return making;
  }

  async #make(name: ImageName): Promise<BenchImage> {
    process.stderr.write(`making the image ${name}\n`);
    const { path, format } = this.#paths()[name];
    await timed(name === 'raw' ? this.#diskLine(path) : LINES[name]((await this.image('raw')).path, path));
    const { size: sizeBytes, blocks } = statSync(path);
    const isOfDisk = name === 'qcow2' || name === 'zlib' || name === 'zstd';
    const dataBytes = isOfDisk ? (await this.image('raw')).dataBytes : blocks * 512;
    const info = run('qemu-img', ['info', '-f', format, '--output', 'json', path]);
    const { 'virtual-size': virtualBytes } = JSON.parse(info) as { 'virtual-size': number };
    const { output } = await timed(`sha256sum ${path}`);
    const key = path.slice(this.#folder.length + 1);
    return { path, key, format, sizeBytes, dataBytes, virtualBytes, sha256: output.slice(0, 64) };
  }

  #paths(): Readonly<Record<ImageName, Pick<BenchImage, 'path' | 'format'>>> {
    const qcow2 = (name: string) => ({ path: join(this.#folder, `${name}.qcow2`), format: 'qcow2' as const });
    return {
      raw: { path: join(this.#folder, 'disk.raw'), format: 'raw' },
      qcow2: qcow2('plain'),
      zlib: qcow2('zlib'),
      zstd: qcow2('zstd'),
      large: qcow2('large'),
      tebibyte: qcow2('tebibyte'),
      tiny: qcow2('tiny'),
    };
  }

  /** Programs, libraries and texts, as they stand in any root file system; in a fixed order. */
  #diskLine(disk: string): string {
    const files = join(this.#folder, 'files');
    const choose = `{ total += $1; if (total < ${FILES_BYTES}) print $2 }`;
    return `mkdir ${files}
      (cd /usr && find lib share bin -xdev -type f -printf '%s %p\\n' | LC_ALL=C sort -k2 |
        awk '${choose}' | tar cf - -T - | tar xf - -C ${files})
      truncate --size ${DISK_BYTES} ${disk}
      mkfs.ext4 -q -O ^has_journal -d ${files} ${disk}
      rm -r ${files}`;
  }
}

const CONVERT = 'qemu-img convert -f raw -O qcow2';
const ZSTD = '-c -o compression_type=zstd';

/** How the others are made of the disk, which is the raw image. */
const LINES: Readonly<Record<Exclude<ImageName, 'raw'>, (disk: string, path: string) => string>> = {
  qcow2: (disk, path) => `${CONVERT} ${disk} ${path}`,
  zlib: (disk, path) => `${CONVERT} -c ${disk} ${path}`,
  zstd: (disk, path) => `${CONVERT} ${ZSTD} ${disk} ${path}`,
  large: largeLine,
  tebibyte: (_disk, path) =>
    `qemu-img create -q -f qcow2 ${path} ${TEBIBYTE}
    qemu-io -f qcow2 -c 'write -q -P 7 1M 16M' -c 'write -q -P 8 512G 16M' -c 'write -q -P 9 1023G 16M' ${path}`,
  tiny: (disk, path) =>
    `head -c ${TINY_DISK_BYTES} ${disk} > ${path}.raw
    ${CONVERT} ${ZSTD} ${path}.raw ${path}
    rm ${path}.raw`,
};

/** About 5 GB: bytes that look random in twelve places, files behind three of them, and holes in between. */
function largeLine(disk: string, path: string): string {
  const copy = 'dd bs=1M conv=notrunc,sparse iflag=fullblock status=none';
  return `truncate --size ${LARGE_DISK_BYTES} ${path}.raw
    for place in 0 1 2 3 4 5 6 7 8 9 10 11; do
      head -c 300M /dev/zero | openssl enc -aes-128-ctr -nosalt -pbkdf2 -pass pass:$place |
        ${copy} of=${path}.raw seek=$(( place * 1000 ))
    done
    for place in 2 5 8; do ${copy} if=${disk} of=${path}.raw seek=$(( place * 1000 + 310 )) count=500; done
    ${CONVERT} ${path}.raw ${path}
    rm ${path}.raw`;
}

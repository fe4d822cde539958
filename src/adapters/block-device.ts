/**
 * The device of a private volume, opened exclusively; and the same over a plain file, for tests and tools.
 * Node has no ioctl, so the size comes from sysfs and large ranges are zeroed by fallocate(1) or
 * blkdiscard(8).
 */
import { execFile } from 'node:child_process';
import type { FileHandle } from 'node:fs/promises';
import { constants, open, readFile } from 'node:fs/promises';
import { ProvisionError } from '../core/errors.ts';
import { alignedMemory } from '../core/images/aligned-memory.ts';
import type { Encryption } from '../core/volume/volume.ts';
import { fillIdOf, mappingName } from '../core/volume/volume.ts';
import type { VolumeDevice, VolumeDevices } from '../provision/ports/volumes.ts';
import { withoutLvmLabel } from './block-label.ts';
import type { Discard } from './block-volume.ts';
import { OpenVolume } from './block-volume.ts';

export interface BlockDeviceOptions {
  /** Where LVM puts its nodes. */
  readonly deviceFolder?: string;
  readonly zeroPrograms?: ZeroPrograms;
  readonly zero?: ZeroRange | undefined;
}

/** Makes a range of an open file read as zeros without a process, in another thread; false if it cannot. */
export type ZeroRange = (fd: number, offsetBytes: number, lengthBytes: number) => Promise<boolean>;

/** Below this, writing zeros is no more work than asking a thread. */
const ZERO_MIN_BYTES = 128 * 1024;
/** For a range of a few GiB on a slow disk that writes the zeros itself. */
const DISCARD_TIMEOUT_MS = 10 * 60 * 1000;
const SECTOR_BYTES = 512;
const PAGE_BYTES = 4096;
const LVM_NAME = /^[A-Za-z0-9_.+][A-Za-z0-9_.+-]*$/;

/** Programs of util-linux that zero a range, in the order in which they are tried. */
export interface ZeroPrograms {
  readonly fallocate: string;
  readonly blkdiscard: string;
}

const ZERO_PROGRAMS: ZeroPrograms = { fallocate: '/usr/bin/fallocate', blkdiscard: '/usr/sbin/blkdiscard' };

/** Opens logical volumes by name. */
export class BlockDevices implements VolumeDevices {
  readonly #folder: string;
  readonly #programs: ZeroPrograms;
  readonly #zero: ZeroRange | undefined;

  constructor(options: BlockDeviceOptions = {}) {
    this.#folder = options.deviceFolder ?? '/dev';
    this.#programs = options.zeroPrograms ?? ZERO_PROGRAMS;
    this.#zero = options.zero;
  }

  async open(vg: string, lv: string, encryption?: Encryption): Promise<VolumeDevice> {
    for (const name of [vg, lv]) {
      if (!LVM_NAME.test(name) || name === '.' || name === '..') throw badName(name);
    }
    const options = { zero: this.#zero, zeroPrograms: this.#programs };
    if (encryption === undefined) return openBlockDevice(`${this.#folder}/${vg}/${lv}`, options);
    const path = `${this.#folder}/mapper/${mappingOf(lv)}`;
    return withoutLvmLabel(path, await openBlockDevice(path, options));
  }
}

/** Only a private volume has one. */
function mappingOf(lv: string): string {
  const fillId = fillIdOf(lv);
  if (fillId === undefined) throw badName(lv);
  return mappingName(fillId);
}

/** Opens a block device by path. O_EXCL without O_CREAT: fails while anybody else holds it (open(2)). */
export async function openBlockDevice(
  path: string,
  options: Omit<BlockDeviceOptions, 'deviceFolder'> = {},
): Promise<VolumeDevice> {
  // O_NONBLOCK: a name that leads to a fifo or a tape must not hang us; a disk ignores it.
  const flags = constants.O_RDWR | constants.O_EXCL | constants.O_NONBLOCK;
  const { handle, isDirect } = await openDirect(path, flags).catch((error: unknown) => {
    throw cannotOpen(path, error);
  });
  try {
    const stat = await handle.stat();
    if (!stat.isBlockDevice()) throw notABlockDevice(path);
    return new OpenVolume({
      path,
      handle,
      sizeBytes: await deviceSizeBytes(path, stat.rdev),
      directBlockBytes: isDirect ? await directBlockBytes(handle, stat.rdev) : undefined,
      discard: discardWith(options.zeroPrograms ?? ZERO_PROGRAMS, handle, options.zero),
      discardMinBytes: options.zero === undefined ? undefined : ZERO_MIN_BYTES,
    });
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Without the page cache, or with it where that is refused. */
async function openDirect(
  path: string,
  flags: number,
): Promise<{ readonly handle: FileHandle; readonly isDirect: boolean }> {
  try {
    return { handle: await open(path, flags | constants.O_DIRECT), isDirect: true };
  } catch (error) {
    if (codeOf(error) !== 'EINVAL') throw error;
    return { handle: await open(path, flags), isDirect: false };
  }
}

/** What O_DIRECT wants of places, lengths and memory: proved by a read, so that no write fails for it. */
async function directBlockBytes(handle: FileHandle, rdev: number): Promise<number> {
  const { major, minor } = deviceNumbers(rdev);
  const limits = ['logical_block_size', 'dma_alignment'].map(async (name) => {
    const text = await readFile(`/sys/dev/block/${major}:${minor}/queue/${name}`, 'utf8').catch(() => '');
    // dma_alignment is a mask, and not there before Linux 6.0, when it was the block size.
    return name === 'dma_alignment' ? Number(text) + 1 : Number(text) || PAGE_BYTES;
  });
  const blockBytes = Math.max(...(await Promise.all(limits)));
  const probe = new Uint8Array(alignedMemory(blockBytes), 0, blockBytes);
  await handle.read(probe, 0, blockBytes, 0);
  return blockBytes;
}

/** A plain file in place of a device; it keeps its length. */
export async function openVolumeFile(path: string): Promise<VolumeDevice> {
  const handle = await open(path, 'r+').catch((error: unknown) => {
    throw cannotOpen(path, error);
  });
  const { size } = await handle.stat();
  return new OpenVolume({ path, handle, sizeBytes: size });
}

/**
 * First the way that lets the device forget the range, as qemu-img does: the kernel refuses it where the
 * range would not read as zeros afterwards. Then the one that writes zeros where nothing else helps. Without
 * the first a loop device over tmpfs, and any disk that can unmap but not write zeros, gets every byte.
 */
function discardWith(programs: ZeroPrograms, handle: FileHandle, zero: ZeroRange | undefined): Discard {
  let mayForget = true;
  return async (offsetBytes, lengthBytes) => {
    if (await zero?.(handle.fd, offsetBytes, lengthBytes)) return true;
    const range = ['--offset', String(offsetBytes), '--length', String(lengthBytes)];
    // Named by our own descriptor, so that a rename meanwhile cannot lead to another device.
    const device = `/proc/${process.pid}/fd/${handle.fd}`;
    mayForget &&= await succeeds(programs.fallocate, ['--punch-hole', ...range, device]);
    if (mayForget) return true;
    // --force: we hold the device exclusively, and blkdiscard would want to as well.
    return succeeds(programs.blkdiscard, ['--zeroout', '--force', ...range, device]);
  };
}

function succeeds(program: string, words: readonly string[]): Promise<boolean> {
  const options = { timeout: DISCARD_TIMEOUT_MS, env: { LC_ALL: 'C.UTF-8' } };
  return new Promise((resolve) => {
    execFile(program, words, options, (error) => {
      resolve(error === null);
    });
  });
}

/** Sysfs counts in 512-byte sectors whatever the device's own are. */
async function deviceSizeBytes(path: string, rdev: number): Promise<number> {
  const { major, minor } = deviceNumbers(rdev);
  const file = `/sys/dev/block/${major}:${minor}/size`;
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw cannotOpen(file, error);
  });
  const sizeBytes = Number(text) * SECTOR_BYTES;
  if (Number.isSafeInteger(sizeBytes) && sizeBytes > 0) return sizeBytes;
  throw new ProvisionError({
    code: 'DEVICE_FAILED',
    message: `The device ${path} has no size: ${file} says ${JSON.stringify(text.trim())}.`,
    hint: 'Check with "lvs" that the volume is active.',
  });
}

/** glibc's gnu_dev_major() and gnu_dev_minor(), for numbers beyond 32 bits too. */
export function deviceNumbers(rdev: number): { readonly major: number; readonly minor: number } {
  const device = BigInt(rdev);
  return {
    major: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n)),
    minor: Number((device & 0xffn) | ((device >> 12n) & 0xffffff00n)),
  };
}

function cannotOpen(path: string, cause: unknown): ProvisionError {
  const code = codeOf(cause);
  if (code === 'ENOENT' || code === 'ENXIO') {
    return new ProvisionError({
      code: 'VOLUME_MISSING',
      message: `There is no device ${path}.`,
      hint: 'Check with "lvs" that the volume exists and is active.',
      cause,
    });
  }
  const hints: Readonly<Record<string, string>> = {
    EBUSY: 'Something else has it open, mounted or mapped: "lsof" or "dmsetup ls --tree" show what.',
    EACCES: 'The root helper has to have given the private volume to the service user: see its journal.',
    EPERM: 'The service may not write this device: look at DeviceAllow= of its unit.',
  };
  return new ProvisionError({
    code: 'DEVICE_FAILED',
    message: `Cannot open ${path}: ${code === 'EBUSY' ? 'it is in use' : textOf(cause)}.`,
    hint: hints[code ?? ''],
    cause,
  });
}

function notABlockDevice(path: string): ProvisionError {
  return new ProvisionError({
    code: 'DEVICE_FAILED',
    message: `${path} is not a block device.`,
    hint: 'Something has put a file where LVM has its nodes: remove it and run "vgscan --mknodes".',
  });
}

function badName(name: string): ProvisionError {
  return new ProvisionError({
    code: 'DEVICE_FAILED',
    message: `${JSON.stringify(name)} is not the name of a volume group or volume.`,
  });
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

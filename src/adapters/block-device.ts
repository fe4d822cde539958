/**
 * The device of a private volume, opened exclusively; and the same over a plain file, for tests and tools.
 * Node has no ioctl, so the size comes from sysfs and large ranges are zeroed by blkdiscard(8).
 */
import type { FileHandle } from 'node:fs/promises';
import { constants, open, readFile } from 'node:fs/promises';
import { execa } from 'execa';
import { ProvisionError } from '../core/errors.ts';
import type { VolumeDevice, VolumeDevices } from '../provision/ports.ts';

export interface BlockDeviceOptions {
  /** Where LVM puts its nodes. */
  readonly deviceFolder?: string;
  readonly blkdiscardProgram?: string;
}

/** Below this it is quicker to write zeros than to start a program. */
const DISCARD_MIN_BYTES = 16 * 1024 * 1024;
/** Whole pages and whole physical sectors of any disk; also what thin pools allocate at least. */
const DISCARD_ALIGNMENT_BYTES = 64 * 1024;
/** For a range of a few GiB on a slow disk that writes the zeros itself. */
const DISCARD_TIMEOUT_MS = 10 * 60 * 1000;
const ZEROS = new Uint8Array(1024 * 1024);
const SECTOR_BYTES = 512;
const LVM_NAME = /^[A-Za-z0-9_.+][A-Za-z0-9_.+-]*$/;

/** Opens logical volumes by name. */
export class BlockDevices implements VolumeDevices {
  readonly #folder: string;
  readonly #program: string;

  constructor(options: BlockDeviceOptions = {}) {
    this.#folder = options.deviceFolder ?? '/dev';
    this.#program = options.blkdiscardProgram ?? '/usr/sbin/blkdiscard';
  }

  async open(vg: string, lv: string): Promise<VolumeDevice> {
    for (const name of [vg, lv]) {
      if (!LVM_NAME.test(name) || name === '.' || name === '..') throw badName(name);
    }
    return openBlockDevice(`${this.#folder}/${vg}/${lv}`, this.#program);
  }
}

/** Opens a block device by path. O_EXCL without O_CREAT: fails while anybody else holds it (open(2)). */
export async function openBlockDevice(
  path: string,
  blkdiscardProgram = '/usr/sbin/blkdiscard',
): Promise<VolumeDevice> {
  // O_NONBLOCK: a name that leads to a fifo or a tape must not hang us; a disk ignores it.
  const flags = constants.O_RDWR | constants.O_EXCL | constants.O_NONBLOCK;
  const handle = await open(path, flags).catch((error: unknown) => {
    throw cannotOpen(path, error);
  });
  try {
    const stat = await handle.stat();
    if (!stat.isBlockDevice()) throw notABlockDevice(path);
    const sizeBytes = await deviceSizeBytes(path, stat.rdev);
    return new OpenVolume(path, handle, sizeBytes, (offsetBytes, lengthBytes) =>
      blkdiscard(blkdiscardProgram, handle, offsetBytes, lengthBytes),
    );
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** A plain file in place of a device; it keeps its length. */
export async function openVolumeFile(path: string): Promise<VolumeDevice> {
  const handle = await open(path, 'r+').catch((error: unknown) => {
    throw cannotOpen(path, error);
  });
  const { size } = await handle.stat();
  return new OpenVolume(path, handle, size, undefined);
}

type Discard = (offsetBytes: number, lengthBytes: number) => Promise<boolean>;

class OpenVolume implements VolumeDevice {
  readonly sizeBytes: number;
  readonly #path: string;
  readonly #handle: FileHandle;
  /** Undefined, or switched off, where zeros must be written. */
  #discard: Discard | undefined;
  #lost: ProvisionError | undefined;

  constructor(path: string, handle: FileHandle, sizeBytes: number, discard: Discard | undefined) {
    this.#path = path;
    this.#handle = handle;
    this.sizeBytes = sizeBytes;
    this.#discard = discard;
  }

  async write(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    this.#requireInside(offsetBytes, bytes.length);
    try {
      for (let at = 0; at < bytes.length;) {
        const { bytesWritten } = await this.#handle.write(bytes, at, bytes.length - at, offsetBytes + at);
        if (bytesWritten === 0) throw new Error('the kernel took no bytes');
        at += bytesWritten;
      }
    } catch (error) {
      throw this.#lose('write', offsetBytes, bytes.length, error);
    }
  }

  async zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#requireInside(offsetBytes, lengthBytes);
    const endBytes = offsetBytes + lengthBytes;
    const first = Math.ceil(offsetBytes / DISCARD_ALIGNMENT_BYTES) * DISCARD_ALIGNMENT_BYTES;
    const last = Math.floor(endBytes / DISCARD_ALIGNMENT_BYTES) * DISCARD_ALIGNMENT_BYTES;
    if (last - first >= DISCARD_MIN_BYTES && (await this.#tryDiscard(first, last - first))) {
      await this.#writeZeros(offsetBytes, first);
      await this.#writeZeros(last, endBytes);
      return;
    }
    await this.#writeZeros(offsetBytes, endBytes);
  }

  async sync(): Promise<void> {
    if (this.#lost !== undefined) throw this.#lost;
    try {
      await this.#handle.datasync();
    } catch (error) {
      throw this.#lose('sync', 0, this.sizeBytes, error);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** After one refusal the device is not asked again: each try costs a process. */
  async #tryDiscard(offsetBytes: number, lengthBytes: number): Promise<boolean> {
    if (this.#discard === undefined) return false;
    if (await this.#discard(offsetBytes, lengthBytes)) return true;
    this.#discard = undefined;
    return false;
  }

  async #writeZeros(offsetBytes: number, endBytes: number): Promise<void> {
    for (let at = offsetBytes; at < endBytes; at += ZEROS.length) {
      await this.write(ZEROS.subarray(0, Math.min(ZEROS.length, endBytes - at)), at);
    }
  }

  #requireInside(offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes) return;
    throw new ProvisionError({
      code: 'INTERNAL',
      message: `A write of ${lengthBytes} bytes at ${offsetBytes} would leave ${this.#path}, which has ${this.sizeBytes} bytes.`,
      hint: 'This is a defect of the provisioner; nothing was written there.',
    });
  }

  #lose(verb: string, offsetBytes: number, lengthBytes: number, cause: unknown): ProvisionError {
    this.#lost ??= new ProvisionError({
      code: codeOf(cause) === 'ENOSPC' ? 'VG_FULL' : 'DEVICE_FAILED',
      message: `Cannot ${verb} ${lengthBytes} bytes at ${offsetBytes} of ${this.#path}: ${textOf(cause)}.`,
      hint: 'Look at the kernel log (dmesg) and at the physical volumes behind the volume group.',
      cause,
    });
    return this.#lost;
  }
}

/**
 * False if the device or the program refuses; the caller then writes zeros. `--force`, because we hold the
 * device exclusively and blkdiscard would want to as well. The device is named by our own descriptor, so
 * that a rename meanwhile cannot lead to another one.
 */
async function blkdiscard(
  program: string,
  handle: FileHandle,
  offsetBytes: number,
  lengthBytes: number,
): Promise<boolean> {
  const range = ['--offset', String(offsetBytes), '--length', String(lengthBytes)];
  const device = `/proc/${process.pid}/fd/${handle.fd}`;
  const result = await execa(program, ['--zeroout', '--force', ...range, device], {
    stdio: 'ignore',
    timeout: DISCARD_TIMEOUT_MS,
    reject: false,
    extendEnv: false,
    env: { LC_ALL: 'C.UTF-8' },
  });
  return !result.failed;
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
    EACCES: 'The udev rule of libvirt-volume-provisioner has to give private volumes to the service user.',
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

/**
 * The optional step between writing a volume and sealing it: all of it is read back from the disk and
 * compared with what it must hold. A cluster's bytes may be written in any order and in any pieces, so no
 * digest of a part of the volume can be kept while it is written. Instead the object is streamed once more,
 * to a device that compares where the real one would write: true of every format, at the price of reading
 * both the object and the volume a second time, and of 2 MiB of memory for each fill.
 */
import { ProvisionError } from '../../core/errors.ts';
import { alignedMemory } from '../../core/images/aligned-memory.ts';
import type { VolumeDevice } from '../ports/volumes.ts';
import { RangeBuffers } from './range-buffers.ts';
import type { StreamOptions } from './stream-image.ts';
import { streamImage } from './stream-image.ts';

export interface ReadBackOptions extends Omit<
  StreamOptions,
  'expectedSha256' | 'proof' | 'resumeFrom' | 'onCheckpoint' | 'isDeviceZero'
> {
  /** What messages call the device. */
  readonly deviceName: string;
  /** Of the object when it was written, which it must have again. */
  readonly sha256: string;
}

/** One read of the device. */
const PIECE_BYTES = 512 * 1024;
/** So many at once keep a disk busy. */
const PIECES = 4;
/** So many bytes are shown where they differ. */
const SHOWN_BYTES = 8;

const zeros = new Uint8Array(PIECE_BYTES);
/** Memory of read-backs that have ended, for the next ones: what JavaScript gives back of it comes late. */
const spare: SharedArrayBuffer[] = [];

/**
 * Reads the whole device and compares it with the image and zeros. DEVICE_FAILED with the place of the first
 * byte that differs. DIGEST_MISMATCH or IMAGE_CHANGED if it was the object that came otherwise this time:
 * then nothing is said about the device.
 */
export async function readBack(options: ReadBackOptions): Promise<void> {
  const { deviceName, sha256, signal, ...stream } = options;
  const memory = spare.pop() ?? alignedMemory(PIECES * PIECE_BYTES);
  const device = new ComparingDevice(options.device, memory, signal);
  try {
    // Also zeros that did not have to be written are looked at.
    await streamImage({ ...stream, device, signal, expectedSha256: sha256, isDeviceZero: false });
  } finally {
    spare.push(memory);
  }
  if (device.difference !== undefined) throw differs(deviceName, device.difference);
  if (device.comparedBytes !== device.sizeBytes) throw incomplete(deviceName, device);
}

/** The first place at which the device does not hold what it should. */
export interface Difference {
  readonly offsetBytes: number;
  /** From there on, at most SHOWN_BYTES of either. */
  readonly found: Uint8Array;
  readonly expected: Uint8Array;
}

/**
 * A device that is not written to: write() and zero() read the range and remember where it holds something
 * else. They do not fail for that, because what is compared with is only known to be right when the object
 * has been read to its end and has its digest. DEVICE_FAILED if the device cannot be read.
 */
export class ComparingDevice implements VolumeDevice {
  comparedBytes = 0;
  readonly #device: VolumeDevice;
  readonly #buffers: RangeBuffers;
  readonly #signal: AbortSignal;
  #difference: Difference | undefined;

  /** The memory, at least two pieces of it, must begin on a page and belong to this device until it is done. */
  constructor(device: VolumeDevice, memory: ArrayBufferLike, signal: AbortSignal) {
    this.#device = device;
    this.#buffers = new RangeBuffers(memory, PIECE_BYTES);
    this.#signal = signal;
  }

  get sizeBytes(): number {
    return this.#device.sizeBytes;
  }

  /** Of all found so far, the one nearest to the device's begin. */
  get difference(): Difference | undefined {
    return this.#difference;
  }

  write(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    return this.#compare(offsetBytes, bytes.length, (from, to) => bytes.subarray(from, to));
  }

  zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    return this.#compare(offsetBytes, lengthBytes, (from, to) => zeros.subarray(0, to - from));
  }

  read(target: Uint8Array, offsetBytes: number): Promise<void> {
    return this.#device.read(target, offsetBytes);
  }

  /** Nothing was written. */
  sync(): Promise<void> {
    return Promise.resolve();
  }

  /** The device belongs to whoever has opened it. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  /** `expected` gives what must stand in a part [from, to) of the range. */
  async #compare(
    offsetBytes: number,
    lengthBytes: number,
    expected: (from: number, to: number) => Uint8Array,
  ): Promise<void> {
    for (let at = 0; at < lengthBytes;) {
      this.#signal.throwIfAborted();
      const place = offsetBytes + at;
      // Up to a round place first: from there on whole blocks, which go straight into this memory.
      const nextAt = Math.min(lengthBytes, at + PIECE_BYTES - (place % PIECE_BYTES));
      const buffer = await this.#buffers.acquire();
      try {
        const found = buffer.bytes.subarray(0, nextAt - at);
        await this.#device.read(found, place);
        this.#note(place, found, expected(at, nextAt));
      } finally {
        buffer.release();
      }
      at = nextAt;
    }
  }

  #note(offsetBytes: number, found: Uint8Array, expected: Uint8Array): void {
    this.comparedBytes += found.length;
    if (Buffer.compare(found, expected) === 0) return;
    const at = found.findIndex((byte, index) => byte !== expected[index]);
    if (this.#difference !== undefined && this.#difference.offsetBytes < offsetBytes + at) return;
    // Copies, which slice() of a Buffer would not be: the memory is used again.
    this.#difference = {
      offsetBytes: offsetBytes + at,
      found: Uint8Array.from(found.subarray(at, at + SHOWN_BYTES)),
      expected: Uint8Array.from(expected.subarray(at, at + SHOWN_BYTES)),
    };
  }
}

function differs(deviceName: string, { offsetBytes, found, expected }: Difference): ProvisionError {
  return new ProvisionError({
    code: 'DEVICE_FAILED',
    message: `${deviceName} does not hold what was written to it: from byte ${offsetBytes} on it reads ${hex(found)}, and should read ${hex(expected)} (hexadecimal).`,
    hint: 'Do not trust this disk: look at the kernel log (dmesg) and at the physical volumes behind the volume group. The volume was not published.',
  });
}

function incomplete(deviceName: string, { comparedBytes, sizeBytes }: ComparingDevice): ProvisionError {
  return new ProvisionError({
    code: 'INTERNAL',
    message: `Of the ${sizeBytes} bytes of ${deviceName}, ${comparedBytes} were compared.`,
    hint: 'This is a defect of the provisioner; the volume was not published.',
  });
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

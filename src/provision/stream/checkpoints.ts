/**
 * Says from time to time how far a fill has come for sure, so that one that is interrupted goes on there.
 * In this order: the bytes are with the device, the device is synced, then the journal says so. The fill
 * itself does not wait, unless more than it may lose would be on the way.
 */
import type { Sha256State } from '../../core/images/resumable-sha256.ts';
import type { FillPosition } from '../ports/fill-journals.ts';
import type { VolumeDevice } from '../ports/volumes.ts';
import type { Hasher } from './hasher.ts';
import type { StreamShape } from './stream-shape.ts';

export interface CheckpointOptions {
  readonly device: VolumeDevice;
  readonly hasher: Hasher;
  readonly shape: StreamShape;
  readonly from: FillPosition | undefined;
  /** Durable when it resolves; absent where the fill cannot be resumed. */
  readonly save: ((position: FillPosition) => Promise<void>) | undefined;
}

/** What is told after each range. */
export interface Handed {
  /** All ranges up to here are with the hasher, the decoder and the device, though not all done. */
  readonly objectBytes: number;
  /** Of the decoder. */
  readonly safeBytes: number | undefined;
  readonly writtenBytes: number;
  readonly zeroedBytes: number;
}

export class Checkpoints {
  readonly zeroed: ZeroedPrefix;
  readonly #options: CheckpointOptions;
  readonly #working = new Set<Promise<void>>();
  /** The hash at the begin of ranges that a position may name. */
  readonly #states = new Map<number, Promise<Sha256State | undefined>>();
  #isOn: boolean;
  #savedBytes: number;
  #saving: Promise<void> | undefined;

  constructor(options: CheckpointOptions) {
    this.#options = options;
    this.#isOn = options.save !== undefined;
    this.#savedBytes = options.from?.objectBytes ?? 0;
    this.zeroed = new ZeroedPrefix(options.from?.zeroedToBytes ?? 0);
  }

  /** Work that must be done before a position behind it is said. It never rejects. */
  track(ended: Promise<void>): void {
    if (!this.#isOn) return;
    this.#working.add(ended);
    void ended.then(() => this.#working.delete(ended));
  }

  /** `isSound`: nothing of what was tracked has failed. */
  async handed(handed: Handed, isSound: () => boolean): Promise<void> {
    const { shape, hasher } = this.#options;
    const { rangeBytes } = shape;
    if (!this.#isOn || handed.objectBytes % rangeBytes !== 0) return;
    const state = hasher.state();
    // It may never be asked for: a thread that failed is said by the hash itself.
    state.catch(() => undefined);
    this.#states.set(handed.objectBytes, state);
    const objectBytes = Math.floor((handed.safeBytes ?? 0) / rangeBytes) * rangeBytes;
    for (const boundary of this.#states.keys()) if (boundary < objectBytes) this.#states.delete(boundary);
    if (this.#saving === undefined && objectBytes - this.#savedBytes >= shape.checkpointBytes) {
      this.#saving = this.#save({ ...handed, objectBytes }, isSound).finally(() => {
        this.#saving = undefined;
      });
    }
    // All buffers may hold what is fetched and not handed on, and one more range is asked for next.
    const aheadBytes = rangeBytes * (shape.rangeBuffers + 1);
    const mayBeLostBytes = handed.objectBytes + aheadBytes - this.#savedBytes;
    if (mayBeLostBytes > shape.fetchedTwiceMaxBytes) await this.#saving;
  }

  /** Resolves when nothing is being said any more. */
  async settle(): Promise<void> {
    await this.#saving;
  }

  /** Never rejects: a fill goes on without its journal, and a lost write shows in its last sync. */
  async #save(handed: Omit<Handed, 'safeBytes'>, isSound: () => boolean): Promise<void> {
    const { device, save } = this.#options;
    const { objectBytes, writtenBytes, zeroedBytes } = handed;
    const zeroedToBytes = this.zeroed.endBytes;
    const working = [...this.#working];
    try {
      const hashState = await this.#states.get(objectBytes);
      await Promise.all(working);
      if (hashState === undefined) this.#isOn = false;
      if (!isSound() || hashState === undefined) return;
      await device.sync();
      await save?.({ objectBytes, hashState, zeroedToBytes, writtenBytes, zeroedBytes });
      this.#savedBytes = objectBytes;
    } catch {
      this.#isOn = false;
    }
  }
}

/** Up to where all holes are zeroed, while several are being zeroed at once. */
export class ZeroedPrefix {
  readonly #unfinished = new Set<number>();
  #reachedBytes: number;

  constructor(fromBytes: number) {
    this.#reachedBytes = fromBytes;
  }

  get endBytes(): number {
    return Math.min(this.#reachedBytes, ...this.#unfinished);
  }

  /** In ascending order; the function given back is to be called when it is done. */
  begin(offsetBytes: number, lengthBytes: number): () => void {
    this.#unfinished.add(offsetBytes);
    this.#reachedBytes = offsetBytes + lengthBytes;
    return () => {
      this.#unfinished.delete(offsetBytes);
    };
  }
}

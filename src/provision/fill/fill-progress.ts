/** How far a fill is, and how fast. */
import { imageName } from '../../core/request.ts';
import { approximateSize } from '../../core/size.ts';
import { formatDuration } from '../../core/duration.ts';
import { ProvisionError } from '../../core/errors.ts';
import type { Clock } from '../ports/host.ts';
import type { ImageLease } from '../ports/image-cache.ts';
import type { FillRecord } from '../ports/ledger.ts';

/**
 * How far a fill is. `bytesTotal` counts bytes of the image object, so that 100 % is the end; while a volume
 * is read back (`verifying`), they are counted from the first again.
 */
export interface FillProgress {
  readonly phase: 'waiting' | 'resolving' | 'filling' | 'verifying' | 'publishing';
  readonly bytesDone: number;
  readonly bytesTotal: number;
  readonly rateBytesPerSecond: number;
  /** Undefined while nothing can be said about it yet. */
  readonly secondsLeft?: number | undefined;
  /** Where the image comes from; undefined until it has been pinned. */
  readonly from?: ImageLease['from'] | undefined;
}

export class ProgressMeter {
  readonly #clock: Clock;
  #phase: FillProgress['phase'] = 'waiting';
  #bytesTotal = 0;
  /** Monotonic time at which bytes began to flow, and how many an interrupted fill had brought before. */
  #streamedSinceMs = 0;
  #streamedFromBytes = 0;
  bytesDone = 0;
  from: FillProgress['from'];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get phase(): FillProgress['phase'] {
    return this.#phase;
  }

  enter(phase: FillProgress['phase'], bytesTotal = this.#bytesTotal): void {
    this.#phase = phase;
    this.#bytesTotal = bytesTotal;
    if (!isStreaming(phase)) return;
    this.#streamedSinceMs = this.#clock.monotonicMs();
    this.#streamedFromBytes = this.bytesDone;
  }

  read(): FillProgress {
    const { bytesDone } = this;
    const [phase, bytesTotal] = [this.#phase, this.#bytesTotal];
    const seconds = (this.#clock.monotonicMs() - this.#streamedSinceMs) / 1000;
    const rateBytesPerSecond =
      isStreaming(phase) && seconds > 0 ? (bytesDone - this.#streamedFromBytes) / seconds : 0;
    return {
      ...{ phase, bytesDone, bytesTotal, rateBytesPerSecond, from: this.from },
      ...(rateBytesPerSecond > 0 ? { secondsLeft: (bytesTotal - bytesDone) / rateBytesPerSecond } : {}),
    };
  }
}

/** Whether the object flows, so that there is a rate. */
function isStreaming(phase: FillProgress['phase']): boolean {
  return phase === 'filling' || phase === 'verifying';
}

/** Calls back once the time is over; returns how to call that off. */
export function afterDeadline(clock: Clock, deadlineMs: number, onLate: () => void): () => void {
  const end = new AbortController();
  clock.sleep(deadlineMs, end.signal).then(onLate, () => undefined);
  return () => {
    end.abort();
  };
}

/** FILL_DEADLINE, with how far the fill was. */
export function late(
  { location, request }: FillRecord,
  deadlineMs: number,
  progress: FillProgress,
): ProvisionError {
  const { phase, bytesDone, bytesTotal, rateBytesPerSecond } = progress;
  const where = `The fill of ${location.vg}/${location.lv} from ${imageName(request.image)}`;
  const percent = bytesTotal === 0 ? 0 : Math.floor((100 * bytesDone) / bytesTotal);
  const how =
    bytesTotal === 0
      ? `it was still ${phase}`
      : `it was ${phase}, at ${percent} % of ${approximateSize(bytesTotal)}, with ${approximateSize(rateBytesPerSecond)} a second`;
  return new ProvisionError({
    code: 'FILL_DEADLINE',
    message: `${where} has not ended within ${formatDuration(deadlineMs)}: ${how}.`,
    hint: 'It goes on by itself after a pause, where it was if its image can be taken up in the middle. Find out whether the store, the network or the disk is that slow, or raise fills.deadline.',
  });
}

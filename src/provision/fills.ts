/**
 * The fills of this process: which are waiting, which run, how far they are, and who waits for them.
 * Their intent is in the ledger before they begin; their end is in the ledger before anybody is told.
 */
import type { Problem } from '../core/errors.ts';
import { isPassing, ProvisionError, toProblem } from '../core/errors.ts';
import type { FillFrom } from '../core/plan.ts';
import { RETRY_MAX_MS } from '../core/plan.ts';
import { imageName } from '../core/request.ts';
import type { Seal } from '../core/volume.ts';
import type { Clock, FillRecord, Ledger, Log } from './ports.ts';

/** What is left to do: write the bytes, or only give a sealed volume its final name. */
export type FillTask =
  | { readonly from: FillFrom }
  | { readonly from: 'finish'; readonly seal: Seal }
  /** The seal names another domain, which this one takes the place of. */
  | { readonly from: 'claim'; readonly seal: Seal };

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
}

/** What a running fill is given to report by and to stop on. */
export interface FillRun {
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Whether another fill, queued or running, reads the same object. */
  isImageWanted(): boolean;
  phase(phase: 'filling' | 'verifying' | 'publishing', bytesTotal?: number): void;
  progress(bytesDone: number): void;
}

/** Does the work; resolves with the image's SHA-256. */
export type FillVolume = (record: FillRecord, task: FillTask, run: FillRun) => Promise<string>;

/** More than any host has disks: a queue that long is a mistake somewhere, not work. */
const QUEUE_MAX = 4096;
const RETRY_FIRST_MS = 5_000;

interface Entry {
  record: FillRecord;
  readonly task: FillTask;
  readonly abort: AbortController;
  readonly done: PromiseWithResolvers<void>;
  isDropped: boolean;
  phase: FillProgress['phase'];
  bytesDone: number;
  bytesTotal: number;
  /** Monotonic time at which bytes began to flow, and how many an interrupted fill had brought before. */
  streamedSinceMs: number;
  streamedFromBytes: number;
}

interface FillNeeds {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
}

export class Fills {
  readonly #needs: FillNeeds;
  readonly #fillVolume: FillVolume;
  readonly #concurrentMax: number;
  readonly #entries = new Map<string, Entry>();
  readonly #waiting: string[] = [];
  #active = 0;
  #settledCount = 0;
  /** Called after each fill has ended and the ledger says how. */
  onSettled: (domainUuid: string) => void = () => undefined;

  constructor(needs: FillNeeds, fillVolume: FillVolume, concurrentMax: number) {
    this.#needs = needs;
    this.#fillVolume = fillVolume;
    this.#concurrentMax = concurrentMax;
  }

  /** Fill ids that are queued or running. */
  get running(): ReadonlySet<string> {
    return new Set(this.#entries.keys());
  }

  /** Counts up whenever a fill ends: what was read before may be out of date. */
  get settledCount(): number {
    return this.#settledCount;
  }

  /** Writes the intent to the ledger and queues the fill. */
  begin(record: FillRecord, task: FillTask): void {
    if (this.#entries.size >= QUEUE_MAX) {
      throw new ProvisionError({ code: 'INTERNAL', message: `More than ${QUEUE_MAX} fills are waiting.` });
    }
    this.#needs.ledger.putFill(record);
    this.#entries.set(record.fillId, {
      record,
      task,
      abort: new AbortController(),
      done: Promise.withResolvers(),
      isDropped: false,
      phase: 'waiting',
      bytesDone: 0,
      bytesTotal: 0,
      streamedSinceMs: 0,
      streamedFromBytes: 0,
    });
    this.#waiting.push(record.fillId);
    this.#startNext();
  }

  /**
   * Ends a fill; it settles once everything it had in flight has ended. Its row is `kept` as cancelled, so
   * that it is not begun again unasked, or `dropped`, as if it had never been asked for.
   */
  cancel(fillId: string, why: string, row: 'kept' | 'dropped' = 'dropped'): void {
    const entry = this.#entries.get(fillId);
    if (entry === undefined) return;
    entry.isDropped = row === 'dropped';
    entry.abort.abort(new ProvisionError({ code: 'CANCELLED', message: `The fill was ended: ${why}.` }));
  }

  /** Somebody is waiting for these: they run before all others that have not begun. */
  promote(fillIds: readonly string[]): void {
    this.#waiting.sort((a, b) => Number(fillIds.includes(b)) - Number(fillIds.includes(a)));
  }

  progressOf(fillId: string): FillProgress | undefined {
    const entry = this.#entries.get(fillId);
    if (entry === undefined) return undefined;
    const { phase, bytesDone, bytesTotal } = entry;
    const seconds = (this.#needs.clock.monotonicMs() - entry.streamedSinceMs) / 1000;
    const rateBytesPerSecond =
      isStreaming(phase) && seconds > 0 ? (bytesDone - entry.streamedFromBytes) / seconds : 0;
    return {
      phase,
      bytesDone,
      bytesTotal,
      rateBytesPerSecond,
      ...(rateBytesPerSecond > 0 ? { secondsLeft: (bytesTotal - bytesDone) / rateBytesPerSecond } : {}),
    };
  }

  /** Resolves when none of these fills is queued or running any more. */
  async settled(fillIds: readonly string[]): Promise<void> {
    for (const fillId of fillIds) await this.#entries.get(fillId)?.done.promise;
  }

  /** The fills of a domain that are queued or running. */
  runningFor(domainUuid: string): string[] {
    return [...this.#entries.values()]
      .filter(({ record }) => record.domainUuid === domainUuid)
      .map(({ record }) => record.fillId);
  }

  /** Ends all fills without a verdict: their rows stay unfinished and are taken up at the next start. */
  async stop(): Promise<void> {
    const entries = [...this.#entries.values()];
    for (const { abort } of entries) abort.abort(new FillsStopped());
    await Promise.all(entries.map((entry) => entry.done.promise));
  }

  #isImageWanted({ record }: Entry): boolean {
    const { image, version } = record.request;
    return [...this.#entries.values()].some(
      ({ record: { fillId, request }, task, abort }) =>
        fillId !== record.fillId &&
        !abort.signal.aborted &&
        task.from !== 'finish' &&
        imageName(request.image) === imageName(image) &&
        request.version === version,
    );
  }

  #startNext(): void {
    while (this.#active < this.#concurrentMax) {
      const entry = this.#entries.get(this.#waiting.shift() ?? '');
      if (entry === undefined) return;
      this.#active += 1;
      void this.#run(entry).finally(() => {
        this.#active -= 1;
        this.#startNext();
      });
    }
  }

  async #run(entry: Entry): Promise<void> {
    const { clock } = this.#needs;
    const log = this.#needs.log.child({
      fill: entry.record.fillId,
      domain: entry.record.domainUuid,
      target: entry.record.request.target,
    });
    const startedMs = clock.monotonicMs();
    try {
      entry.abort.signal.throwIfAborted();
      this.#note(entry, { state: 'filling' }, log);
      entry.phase = 'resolving';
      const sha256 = await this.#fillVolume(entry.record, entry.task, {
        signal: entry.abort.signal,
        log,
        isImageWanted: () => this.#isImageWanted(entry),
        phase: (phase, bytesTotal) => {
          entry.phase = phase;
          if (bytesTotal !== undefined) entry.bytesTotal = bytesTotal;
          if (isStreaming(phase)) {
            entry.streamedSinceMs = clock.monotonicMs();
            entry.streamedFromBytes = entry.bytesDone;
          } else this.#note(entry, { state: 'publishing' }, log);
        },
        progress: (bytesDone) => {
          entry.bytesDone = bytesDone;
        },
      });
      this.#note(entry, { state: 'ready', sha256 }, log);
      log.info({ sha256, tookMs: Math.round(clock.monotonicMs() - startedMs) }, 'published');
    } catch (error) {
      try {
        this.#saveFailure(entry, entry.abort.signal.aborted ? entry.abort.signal.reason : error, log);
      } catch (ledgerError) {
        // The row stays unfinished, which is true, and is taken up again at the next start.
        log.error({ err: ledgerError }, 'the end of a fill could not be written to the ledger');
      }
    }
    this.#entries.delete(entry.record.fillId);
    this.#settledCount += 1;
    entry.done.resolve();
    this.onSettled(entry.record.domainUuid);
  }

  #saveFailure(entry: Entry, error: unknown, log: Log): void {
    if (error instanceof FillsStopped) return;
    const problem: Problem = toProblem(error);
    if (problem.code === 'CANCELLED') {
      if (entry.isDropped)
        this.#needs.ledger.removeFill(entry.record.domainUuid, entry.record.request.target);
      else this.#save(entry, { state: 'cancelled', problem });
      log.info({ problem }, 'cancelled');
      return;
    }
    const attempts = entry.record.attempts + 1;
    const pauseMs = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(attempts - 1, 16));
    this.#save(entry, {
      state: 'failed',
      problem,
      attempts,
      ...(isPassing(problem) ? { retryAtMs: this.#needs.clock.nowMs() + pauseMs } : {}),
    });
    log.error({ problem, ...(problem.code === 'INTERNAL' ? { err: error } : {}) }, 'failed');
  }

  /**
   * How far a fill is. One unfinished state is as good as another after a crash, and a finished volume proves
   * itself by its seal: without this write it goes on.
   */
  #note(entry: Entry, change: Partial<FillRecord>, log: Log): void {
    try {
      this.#save(entry, change);
    } catch (err) {
      log.warn({ err }, 'the ledger could not be told how far a fill is');
    }
  }

  #save(entry: Entry, change: Partial<FillRecord>): void {
    entry.record = { ...entry.record, ...change, updatedAtMs: this.#needs.clock.nowMs() };
    this.#needs.ledger.putFill(entry.record);
  }
}

/** Whether the object flows, so that there is a rate. */
function isStreaming(phase: FillProgress['phase']): boolean {
  return phase === 'filling' || phase === 'verifying';
}

/** Why a fill ends when the daemon does: neither a failure nor a cancellation; it is taken up again later. */
export class FillsStopped extends Error {}

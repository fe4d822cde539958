/**
 * The fills of this process: which are waiting, which run, how far they are, and who waits for them.
 * Their intent is in the ledger before they begin; their end is in the ledger before anybody is told.
 */
import type { Problem } from '../../core/errors.ts';
import { isPassing, ProvisionError, toProblem } from '../../core/errors.ts';
import type { FillFrom } from '../../core/plan/decision.ts';
import type { FillLimits } from '../../core/settings/fill-limits.ts';
import { imageName } from '../../core/request.ts';
import { retryPauseMs } from '../../core/plan/retry-pause.ts';
import type { Seal } from '../../core/volume/volume.ts';
import type { FillProgress } from './fill-progress.ts';
import { afterDeadline, late, ProgressMeter } from './fill-progress.ts';
import type { Clock, Freeze, Log } from '../ports/host.ts';
import type { ImageLease } from '../ports/image-cache.ts';
import type { FillRecord, Ledger } from '../ports/ledger.ts';

/** What is left to do: write the bytes, or only give a sealed volume its final name. */
export type FillTask =
  | { readonly from: FillFrom }
  | { readonly from: 'finish'; readonly seal: Seal }
  /** The seal names another domain, which this one takes the place of. */
  | { readonly from: 'claim'; readonly seal: Seal };

/** What a running fill is given to report by and to stop on. */
export interface FillRun {
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Whether another fill, queued or running, reads the same object. */
  isImageWanted(): boolean;
  phase(phase: 'filling' | 'verifying' | 'publishing', bytesTotal?: number): void;
  progress(bytesDone: number): void;
  from(from: ImageLease['from']): void;
  /** All bytes are handed to the device: what follows is syncing it and judging what it holds. */
  streamed?: (() => void) | undefined;
}

/** Does the work; resolves with the image's SHA-256. */
export type FillVolume = (record: FillRecord, task: FillTask, run: FillRun) => Promise<string>;

/** Whether somebody stands there and wants it: then it may take the place of one that nobody waits for. */
export type Urgency = 'patient' | 'urgent';

interface Entry {
  record: FillRecord;
  readonly task: FillTask;
  readonly abort: AbortController;
  readonly done: PromiseWithResolvers<void>;
  readonly meter: ProgressMeter;
  urgency: Urgency;
  /** Has the last word on why the fill ended: a deadline may have come first. */
  cancelled: { readonly error: ProvisionError; readonly row: 'kept' | 'dropped' } | undefined;
}

interface FillNeeds {
  readonly freeze: Freeze;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
}

export class Fills {
  readonly #needs: FillNeeds;
  readonly #fillVolume: FillVolume;
  readonly #limits: FillLimits;
  readonly #entries = new Map<string, Entry>();
  readonly #waiting: string[] = [];
  #active = 0;
  #settledCount = 0;
  /** Called after each fill has ended and the ledger says how; with how far it had come. */
  onSettled: (record: FillRecord, progress: FillProgress) => void = () => undefined;

  constructor(needs: FillNeeds, fillVolume: FillVolume, limits: FillLimits) {
    this.#needs = needs;
    this.#fillVolume = fillVolume;
    this.#limits = limits;
  }

  /** Fill ids that are queued or running. */
  get running(): ReadonlySet<string> {
    return new Set(this.#entries.keys());
  }

  get queuedCount(): number {
    return this.#waiting.length;
  }

  get activeCount(): number {
    return this.#active;
  }

  /** Counts up whenever a fill that ran has ended: what was read of volumes before may be out of date. */
  get settledCount(): number {
    return this.#settledCount;
  }

  /**
   * Writes the intent to the ledger and queues the fill. If the queue is full, it ends at once with QUEUE_FULL,
   * which the ledger says like any other end.
   */
  begin(record: FillRecord, task: FillTask, urgency: Urgency = 'patient'): void {
    const entry: Entry = {
      ...{ record, task, urgency },
      ...{ abort: new AbortController(), done: Promise.withResolvers() },
      ...{ meter: new ProgressMeter(this.#needs.clock), cancelled: undefined },
    };
    if (writesBytes(entry.task) && !this.#hasPlaceFor(urgency)) {
      this.#end(entry, queueFull(this.#limits.queueMax));
      return;
    }
    this.#needs.ledger.putFill(record);
    this.#entries.set(record.fillId, entry);
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
    const error = new ProvisionError({ code: 'CANCELLED', message: `The fill was ended: ${why}.` });
    entry.cancelled = { error, row };
    entry.abort.abort(error);
    // One that has not begun has nothing in flight, and may have hours to wait for its turn.
    if (this.#leaveQueue(fillId)) this.#end(entry, error);
  }

  /** Somebody is waiting for these: they run before all others that have not begun. */
  promote(fillIds: readonly string[]): void {
    for (const fillId of fillIds) {
      const entry = this.#entries.get(fillId);
      if (entry !== undefined) entry.urgency = 'urgent';
    }
    const wanted = new Set(fillIds);
    this.#waiting.sort((a, b) => Number(wanted.has(b)) - Number(wanted.has(a)));
  }

  progressOf(fillId: string): FillProgress | undefined {
    return this.#entries.get(fillId)?.meter.read();
  }

  /** How many others begin before it; undefined unless it waits for its turn. */
  queuePositionOf(fillId: string): number | undefined {
    const index = this.#waiting.indexOf(fillId);
    return index < 0 ? undefined : index;
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
    this.#interrupt();
    await Promise.all(entries.map((entry) => entry.done.promise));
  }

  /** If the host is frozen by now: all fills end as they do with the daemon, and are gone on with when it is thawed. */
  stopIfFrozen(): void {
    if (this.#entries.size > 0 && this.#needs.freeze.frozen() !== undefined) this.#interrupt();
  }

  #interrupt(): void {
    for (const { abort } of this.#entries.values()) abort.abort(new FillsStopped());
  }

  #isImageWanted({ record }: Entry): boolean {
    const { image, version } = record.request;
    return [...this.#entries.values()].some(
      ({ record: { fillId, request, location }, task, abort }) =>
        fillId !== record.fillId &&
        !abort.signal.aborted &&
        task.from !== 'finish' &&
        // They share a golden volume, not a download.
        location.thinPool === undefined &&
        imageName(request.image) === imageName(image) &&
        request.version === version,
    );
  }

  /** Whoever is urgent takes the place of the last one that nobody waits for; that one is tried again later. */
  #hasPlaceFor(urgency: Urgency): boolean {
    if (this.#waiting.length < this.#limits.queueMax) return true;
    if (urgency === 'patient') return false;
    const last = this.#waiting
      .map((fillId) => this.#entries.get(fillId))
      .findLast((entry) => entry?.urgency === 'patient' && writesBytes(entry.task));
    if (last === undefined) return false;
    this.#leaveQueue(last.record.fillId);
    this.#end(last, queueFull(this.#limits.queueMax));
    return true;
  }

  #leaveQueue(fillId: string): boolean {
    const index = this.#waiting.indexOf(fillId);
    if (index >= 0) this.#waiting.splice(index, 1);
    return index >= 0;
  }

  #startNext(): void {
    while (this.#active < this.#limits.concurrentMax) {
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
    const { meter, abort } = entry;
    const log = this.#logOf(entry);
    const startedMs = clock.monotonicMs();
    const stopClock = writesBytes(entry.task) ? this.#limitTime(entry) : () => undefined;
    let failure: { readonly error: unknown } | undefined;
    try {
      this.stopIfFrozen();
      abort.signal.throwIfAborted();
      this.#note(entry, { state: 'filling' }, log);
      meter.enter('resolving');
      const sha256 = await this.#fillVolume(entry.record, entry.task, {
        signal: abort.signal,
        log,
        isImageWanted: () => this.#isImageWanted(entry),
        phase: (phase, bytesTotal) => {
          this.stopIfFrozen();
          abort.signal.throwIfAborted();
          meter.enter(phase, bytesTotal);
          if (phase === 'publishing') this.#note(entry, { state: 'publishing' }, log);
        },
        progress: (bytesDone) => {
          meter.bytesDone = bytesDone;
          this.stopIfFrozen();
        },
        from: (from) => {
          meter.from = from;
        },
      });
      this.#note(entry, { state: 'ready', sha256 }, log);
      log.info({ sha256, tookMs: Math.round(clock.monotonicMs() - startedMs) }, 'published');
    } catch (error) {
      failure = { error: entry.cancelled?.error ?? (abort.signal.aborted ? abort.signal.reason : error) };
    }
    stopClock();
    this.#settledCount += 1;
    this.#end(entry, failure?.error);
  }

  /** Once it is being published the bytes are there, and each step of that has a limit of its own. */
  #limitTime(entry: Entry): () => void {
    const { deadlineMs } = this.#limits;
    return afterDeadline(this.#needs.clock, deadlineMs, () => {
      const progress = entry.meter.read();
      if (progress.phase !== 'publishing') entry.abort.abort(late(entry.record, deadlineMs, progress));
    });
  }

  /** Writes down how it ended, if it failed, then tells whoever waits for it. */
  #end(entry: Entry, error: unknown): void {
    const log = this.#logOf(entry);
    try {
      if (error !== undefined) this.#saveFailure(entry, error, log);
    } catch (ledgerError) {
      // The row stays unfinished, which is true, and is taken up again at the next start.
      log.error({ err: ledgerError }, 'the end of a fill could not be written to the ledger');
    }
    this.#entries.delete(entry.record.fillId);
    entry.done.resolve();
    this.onSettled(entry.record, entry.meter.read());
  }

  #logOf({ record: { fillId, domainUuid, request } }: Entry): Log {
    return this.#needs.log.child({ fill: fillId, domain: domainUuid, target: request.target });
  }

  #saveFailure(entry: Entry, error: unknown, log: Log): void {
    if (error instanceof FillsStopped) return;
    const problem: Problem = toProblem(error);
    if (problem.code === 'CANCELLED') {
      if (entry.cancelled?.row === 'kept') this.#save(entry, { state: 'cancelled', problem });
      else this.#needs.ledger.removeFill(entry.record.domainUuid, entry.record.request.target);
      log.info({ problem }, 'cancelled');
      return;
    }
    const attempts = entry.record.attempts + 1;
    const retryAtMs = this.#needs.clock.nowMs() + retryPauseMs(attempts, Math.random());
    this.#save(entry, {
      state: 'failed',
      problem,
      attempts,
      ...(isPassing(problem) ? { retryAtMs } : {}),
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

/** Finishing and claiming take moments, and there are no more of them than volumes. */
export function writesBytes({ from }: FillTask): boolean {
  return from !== 'finish' && from !== 'claim';
}

/** Why a fill ends when the daemon does, or the host is frozen: neither a failure nor a cancellation; it is taken up again later. */
export class FillsStopped extends Error {}

function queueFull(queueMax: number): ProvisionError {
  return new ProvisionError({
    code: 'QUEUE_FULL',
    message: `${queueMax} fills are waiting for their turn already, which is as many as may.`,
    hint: 'It is tried again by itself. fills.queue_max in the configuration is the limit; `lvp list` shows who waits.',
  });
}

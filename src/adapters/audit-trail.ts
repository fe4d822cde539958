/**
 * The audit trail: every event goes to the journal at once, where other programs can be told to collect it, and a
 * moment later to the ledger, where `lvp audit` finds it. Whatever is wrong with either, fills go on.
 */
import { toProblem } from '../core/errors.ts';
import type { AuditEvent } from '../core/protocol/audit-event.ts';
import type { AuditEvents, AuditQuery } from '../core/protocol/audit-protocol.ts';
import type { AuditStore, AuditTrail } from '../provision/ports/audit.ts';
import type { Clock, Log } from '../provision/ports/host.ts';
import type { JournalStream } from './audit/journal-stream.ts';

/** Every write to the ledger waits for the disk, so what comes together is written together, in ms. */
const TOGETHER_MS = 200;
const AGAIN_MS = 5000;
/** While the ledger cannot be written; the journal has them all. */
const WAITING_MAX = 10_000;
const TEXT_MAX = 1024;
const MESSAGE_MAX = 4096;
const REDACTED = '[redacted]';

export interface AuditTrailOptions {
  readonly journal: Pick<JournalStream, 'write' | 'close'>;
  /** Undefined before there is a ledger. */
  readonly store?: AuditStore | undefined;
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly log: Log;
  /** Texts that must not be in any event: a second line behind the rule that nobody puts them there. */
  readonly secrets?: readonly string[];
}

export class RecordedAudit implements AuditTrail {
  readonly #options: AuditTrailOptions;
  readonly #secrets: readonly string[];
  #waiting: AuditEvent[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isStoreBroken = false;

  constructor(options: AuditTrailOptions) {
    this.#options = options;
    this.#secrets = (options.secrets ?? []).filter((secret) => secret !== '');
  }

  record(event: Omit<AuditEvent, 'at'>): void {
    try {
      const at = new Date(this.#options.clock.nowMs()).toISOString();
      const clean = this.#clean({ at, ...event });
      this.#options.journal.write(JSON.stringify(clean));
      if (this.#options.store === undefined) return;
      this.#waiting.push(clean);
      if (this.#waiting.length > WAITING_MAX) this.#waiting.shift();
      this.#flushIn(TOGETHER_MS);
    } catch (error) {
      this.#options.log.error({ err: error }, 'an event of the audit trail was lost');
    }
  }

  /** What has been recorded until now is found too. */
  find(query: AuditQuery): AuditEvents {
    this.#flush();
    return this.#options.store?.find(query) ?? { events: [], more: false };
  }

  async close(): Promise<void> {
    this.#flush();
    clearTimeout(this.#timer);
    await this.#options.journal.close();
  }

  #flushIn(durationMs: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#flush();
    }, durationMs).unref();
  }

  #flush(): void {
    const { store, log } = this.#options;
    if (this.#waiting.length === 0) return;
    try {
      store?.append(this.#waiting);
      this.#waiting = [];
      this.#isStoreBroken = false;
    } catch (error) {
      // Once: it is tried again for as long as that lasts.
      if (!this.#isStoreBroken)
        log.error({ problem: toProblem(error) }, 'the audit trail cannot be written to the ledger');
      this.#isStoreBroken = true;
      this.#flushIn(AGAIN_MS);
    }
  }

  #clean(event: AuditEvent): AuditEvent {
    const text = (value: string): string => this.#withoutSecrets(value).slice(0, TEXT_MAX);
    const { volume, domain, key, problem } = event;
    return {
      ...event,
      who: text(event.who),
      what: text(event.what),
      ...(volume === undefined ? {} : { volume: text(volume) }),
      ...(domain === undefined ? {} : { domain: text(domain) }),
      ...(key === undefined ? {} : { key: text(key) }),
      correlationId: text(event.correlationId),
      ...(problem === undefined
        ? {}
        : { problem: { ...problem, message: this.#withoutSecrets(problem.message).slice(0, MESSAGE_MAX) } }),
    };
  }

  #withoutSecrets(value: string): string {
    return this.#secrets.reduce((rest, secret) => rest.replaceAll(secret, REDACTED), value);
  }
}

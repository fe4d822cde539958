/**
 * A request that is sent again with the same Idempotency-Key gets the answer of the first, and nothing is done twice.
 * Kept in memory, so a restart of the daemon forgets it: what a job asks for is then found to be there by its volume.
 */
import { createHash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { Refusal } from './refusal.ts';

const KEYS_MAX = 1_000;
const KEPT_MS = 24 * 3_600_000;

interface Kept {
  readonly fingerprint: string;
  readonly answer: Promise<unknown>;
  readonly sinceMs: number;
}

export class IdempotentRequests {
  readonly #kept = new Map<string, Kept>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** What `work` gives, or what it gave when the same caller sent the same before; failures are not kept. */
  once<T>(request: FastifyRequest, work: () => Promise<T>): Promise<T> {
    const sent = request.headers['idempotency-key'];
    if (sent === undefined) return work();
    const key = JSON.stringify([request.caller?.who, request.method, request.url, sent]);
    const fingerprint = createHash('sha256')
      .update(JSON.stringify(request.body ?? null))
      .digest('base64');
    const kept = this.#find(key);
    if (kept === undefined) return this.#keep(key, fingerprint, work());
    if (kept.fingerprint === fingerprint) return kept.answer as Promise<T>;
    throw new Refusal({
      status: 422,
      code: 'IDEMPOTENCY_KEY_REUSED',
      message: 'The Idempotency-Key was sent before with another request.',
      hint: 'Take a new key for each thing that is to be done.',
    });
  }

  #find(key: string): Kept | undefined {
    const kept = this.#kept.get(key);
    if (kept === undefined || this.#nowMs() - kept.sinceMs < KEPT_MS) return kept;
    this.#kept.delete(key);
    return undefined;
  }

  #keep<T>(key: string, fingerprint: string, answer: Promise<T>): Promise<T> {
    this.#kept.set(key, { fingerprint, answer, sinceMs: this.#nowMs() });
    answer.catch(() => {
      if (this.#kept.get(key)?.answer === answer) this.#kept.delete(key);
    });
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > KEYS_MAX && oldest !== undefined) this.#kept.delete(oldest);
    return answer;
  }
}

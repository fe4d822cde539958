/** The token that is in use, asked for once however many want it, and until shortly before it runs out. */
import type { KeyIdentity, KeyToken } from './keystone.ts';
import { askForToken } from './keystone.ts';
import type { KeyRequests } from './requests.ts';
import { withinTime } from './deadline.ts';

/** How long before its end a token is not used any more. */
const MARGIN_MS = 60_000;

export interface KeyTokensOptions {
  readonly requests: KeyRequests;
  readonly authUrl: URL;
  readonly identity: KeyIdentity;
  /** Of one request for a token. */
  readonly limitMs: number;
  readonly nowMs?: (() => number) | undefined;
}

export class KeyTokens {
  readonly #options: KeyTokensOptions;
  readonly #nowMs: () => number;
  #current: { readonly token: KeyToken; readonly usableUntilMs: number } | undefined;
  #asked: Promise<KeyToken> | undefined;

  constructor(options: KeyTokensOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
  }

  /** The signal ends the waiting; a request that others wait for, too, goes on. */
  async get(signal: AbortSignal): Promise<KeyToken> {
    const { token, usableUntilMs = 0 } = this.#current ?? {};
    if (token !== undefined && this.#nowMs() < usableUntilMs) return token;
    this.#asked ??= this.#ask().finally(() => {
      this.#asked = undefined;
    });
    return unlessAborted(this.#asked, signal);
  }

  /** It was refused: revoked, or forgotten by a Keystone that was made anew. */
  forget(token: KeyToken): void {
    if (this.#current?.token === token) this.#current = undefined;
  }

  async #ask(): Promise<KeyToken> {
    const { requests, authUrl, identity, limitMs } = this.#options;
    const askedMs = this.#nowMs();
    const token = await withinTime(limitMs, new AbortController().signal, (signal) =>
      askForToken(requests, authUrl, identity, signal),
    );
    // A short one is used for half of its life.
    const usableMs = token.lifetimeMs - Math.min(MARGIN_MS, token.lifetimeMs / 2);
    this.#current = { token, usableUntilMs: askedMs + usableMs };
    return token;
  }
}

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => {
    aborted.reject(signal.reason as Error);
  };
  // Whoever waits has gone; its end is for the others.
  work.catch(() => undefined);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

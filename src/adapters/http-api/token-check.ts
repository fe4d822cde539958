/**
 * Whether a token is one of ours, cheaply: the slow hash is worked out once for each good token. For bad ones it is
 * worked out one after the other, and only so many may wait, so that nobody's guessing slows anybody who is known.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { TokenHash } from './token-file.ts';
import { matchesToken, nameInToken, TOKENS_MAX } from './token-file.ts';

/** Hashes that may wait for their turn: a second's work. */
const WAITING_MAX = 32;

/** `busy`: it could not be looked at; the caller may try again. */
export type TokenVerdict = { readonly name: string } | 'unknown' | 'busy';

export class TokenCheck {
  /** Of this process alone, so that what is remembered is of no use elsewhere. */
  readonly #key = randomBytes(32);
  #tokens: ReadonlyMap<string, TokenHash> = new Map();
  /** Names of good tokens by their keyed digest: how long looking one up takes says nothing of the token. */
  #known = new Map<string, string>();
  /** By the keyed digests of the tokens that are being checked; as few as may wait. */
  readonly #underWay = new Map<string, Promise<TokenVerdict>>();
  #waiting = 0;
  #turn: Promise<unknown> = Promise.resolve();

  /** From now on only these count. */
  replace(tokens: ReadonlyMap<string, TokenHash>): void {
    this.#tokens = tokens;
    this.#known = new Map();
  }

  /** The name of a token that was good before; undefined: it has to be checked. */
  recall(token: string): string | undefined {
    return this.#known.get(this.#digest(token));
  }

  /** The verdict on a token that somebody else shows at this moment; undefined: nobody does. */
  underWay(token: string): Promise<TokenVerdict> | undefined {
    return this.#underWay.get(this.#digest(token));
  }

  /** Of many who show the same token at once, only the first costs a hash. */
  check(token: string): Promise<TokenVerdict> {
    const digest = this.#digest(token);
    const joined = this.#underWay.get(digest);
    if (joined !== undefined) return joined;
    const verdict = this.#judge(token, digest).finally(() => {
      this.#underWay.delete(digest);
    });
    this.#underWay.set(digest, verdict);
    return verdict;
  }

  async #judge(token: string, digest: string): Promise<TokenVerdict> {
    const name = nameInToken(token);
    const hash = name === undefined ? undefined : this.#tokens.get(name);
    if (name === undefined || hash === undefined) return 'unknown';
    if (this.#waiting >= WAITING_MAX) return 'busy';
    this.#waiting += 1;
    try {
      const turn = this.#turn.then(() => matchesToken(token, hash));
      this.#turn = turn.catch(() => undefined);
      if (!(await turn)) return 'unknown';
    } finally {
      this.#waiting -= 1;
    }
    // Revoked, or made anew, before its turn came.
    if (this.#tokens.get(name)?.hash.equals(hash.hash) !== true) return 'busy';
    if (this.#known.size < TOKENS_MAX) this.#known.set(digest, name);
    return { name };
  }

  #digest(token: string): string {
    return createHmac('sha256', this.#key).update(token).digest('base64');
  }
}

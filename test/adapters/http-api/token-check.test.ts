/** Goal: a good token is recognised, whatever comes between; guessing waits its turn, and not for ever. */
import { expect, it } from 'vitest';
import { TokenCheck } from '../../../src/adapters/http-api/token-check.ts';
import { hashToken, makeToken } from '../../../src/adapters/http-api/token-file.ts';

const token = makeToken('ci');
const hash = await hashToken(token);

it('a good token is known from its first check on, until tokens change', async () => {
  const check = new TokenCheck();
  check.replace(new Map([['ci', hash]]));
  expect(check.recall(token)).toBeUndefined();
  expect(await check.check(token)).toEqual({ name: 'ci' });
  expect(check.recall(token)).toBe('ci');
  expect(check.recall(makeToken('ci'))).toBeUndefined();
  check.replace(new Map());
  expect(check.recall(token)).toBeUndefined();
  expect(await check.check(token)).toBe('unknown');
});

it('files that are read again meanwhile are in nobody’s way; a token revoked meanwhile is not let in', async () => {
  const check = new TokenCheck();
  check.replace(new Map([['ci', hash]]));
  const good = check.check(token);
  check.replace(new Map([['ci', { ...hash }]]));
  expect(await good).toEqual({ name: 'ci' });
  check.replace(new Map([['ci', hash]]));
  const late = check.check(token);
  check.replace(new Map());
  expect(await late).toBe('busy');
  expect(check.recall(token)).toBeUndefined();
});

it('many who show the same token at once wait for one hash', async () => {
  const check = new TokenCheck();
  check.replace(new Map([['ci', hash]]));
  expect(check.underWay(token)).toBeUndefined();
  const verdicts = Promise.all(Array.from({ length: 40 }, () => check.check(token)));
  expect(check.underWay(makeToken('ci'))).toBeUndefined();
  expect(await check.underWay(token)).toEqual({ name: 'ci' });
  // Forty hashes would be more than may wait.
  expect(new Set((await verdicts).map((verdict) => JSON.stringify(verdict)))).toEqual(
    new Set(['{"name":"ci"}']),
  );
  expect(check.underWay(token)).toBeUndefined();
});

it('only so many wait, and who is known does not', async () => {
  const check = new TokenCheck();
  check.replace(new Map([['ci', hash]]));
  await check.check(token);
  const guesses = Promise.all(Array.from({ length: 40 }, () => check.check(makeToken('ci'))));
  expect(check.recall(token)).toBe('ci');
  const verdicts = await guesses;
  expect(verdicts.filter((verdict) => verdict === 'unknown')).toHaveLength(32);
  expect(verdicts.filter((verdict) => verdict === 'busy')).toHaveLength(8);
  // A name that nobody has costs no hash.
  expect(await check.check(makeToken('mallory'))).toBe('unknown');
});

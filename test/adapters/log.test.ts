/** Goal: whatever somebody logs by mistake, a field with the name of a secret shows none. */
import { describe, expect, it } from 'vitest';
import { openLog } from '../../src/adapters/log.ts';
import { Secret } from '../../src/adapters/config/secret.ts';

const SECRET = 'sEcReT-4711';

function logged(fields: object): string {
  let text = '';
  openLog('info', 'json', {
    write: (line) => {
      text += line;
    },
  }).info(fields, 'said');
  expect(text).toContain('"msg":"said"');
  return text;
}

const within = (depth: number, fields: object): object =>
  depth === 0 ? fields : { inner: within(depth - 1, fields) };

describe('the log', () => {
  it.each([
    'accessKey',
    'secretKey',
    'secret_key',
    'password',
    'passphrase',
    'token',
    'authorization',
    'secret',
  ])('shows no %s, however deep it stands', (name) => {
    for (let depth = 0; depth <= 5; depth++) {
      const text = logged(within(depth, { [name]: SECRET, beside: 'kept' }));
      expect([depth, text]).toEqual([depth, expect.not.stringContaining(SECRET)]);
      expect(text).toContain('kept');
    }
  });

  it('shows none of a request, of an error, or of what holds one', () => {
    const headers = { authorization: SECRET, 'x-amz-security-token': SECRET };
    const error = Object.assign(new Error('refused'), { options: { headers }, accessKey: SECRET });
    expect(
      logged({ err: error, request: { headers }, config: { minio: { secretKey: SECRET } } }),
    ).not.toContain(SECRET);
    expect(logged({ key: new Secret(SECRET), list: [{ secretKey: SECRET }] })).not.toContain(SECRET);
  });
});

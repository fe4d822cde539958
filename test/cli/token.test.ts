/** Goal: a token is shown once and kept as a hash, in a file that is never half written and nobody else reads. */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { execa } from 'execa';
import { afterAll, expect, test } from 'vitest';
import { matchesToken, parseTokens } from '../../src/adapters/http-api/token-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'lvp-token-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

async function token(...args: readonly string[]) {
  const cli = resolve(import.meta.dirname, '../../src/cli.ts');
  const { stdout, stderr, exitCode } = await execa(process.execPath, [cli, 'token', ...args], {
    reject: false,
  });
  return { stdout, stderr, exitCode };
}

test('a token is made, listed and revoked', async () => {
  const file = join(folder, 'tokens');
  writeFileSync(file, '# of this host\n');
  chmodSync(file, 0o644);
  const made = await token('create', 'ci', '--file', file);
  expect(made.exitCode).toBe(0);
  expect(made.stdout).toMatch(/^ci\.[A-Za-z0-9_-]{43}$/);
  const text = readFileSync(file, 'utf8');
  expect(text).toMatch(/^# of this host\nci:\$scrypt\$.*\n$/);
  expect(text).not.toContain(made.stdout.slice(3));
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const hash = parseTokens(text).tokens.get('ci');
  expect(hash && (await matchesToken(made.stdout, hash))).toBe(true);
  expect(hash && (await matchesToken(`${made.stdout}x`, hash))).toBe(false);

  const second = await token('create', 'admin', '--file', file, '--json');
  expect(JSON.parse(second.stdout)).toMatchObject({ name: 'admin', file });
  expect((await token('list', '--file', file)).stdout).toBe('ci\nadmin');
  expect((await token('revoke', 'ci', '--file', file)).stdout).toBe('ci is revoked.');
  expect((await token('list', '--file', file)).stdout).toBe('admin');
  expect(existsSync(`${file}.new`)).toBe(false);
});

test.each([
  ['a name that is none', ['create', 'a:b'], 'is no name for a token'],
  ['a name that is taken', ['create', 'taken'], 'has a token taken already'],
  ['to revoke what is not there', ['revoke', 'none'], 'has no token none'],
])('%s is refused, and nothing changes', async (_what, args, why) => {
  const file = join(folder, 'refused');
  writeFileSync(file, 'taken:x\n', { mode: 0o600 });
  const { stderr, exitCode } = await token(...args, '--file', file);
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining(why)]);
  expect(readFileSync(file, 'utf8')).toBe('taken:x\n');
});

test('two at once do not lose a token: the second is refused', async () => {
  const file = join(folder, 'busy');
  writeFileSync(`${file}.new`, '');
  const { stderr, exitCode } = await token('create', 'ci', '--file', file);
  expect([exitCode, stderr]).toEqual([1, expect.stringContaining('Another lvp token is at work')]);
  expect(existsSync(file)).toBe(false);
});

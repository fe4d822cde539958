/** Goal: keys reach a program over its input, and come out of here in nothing that is said. Method: real programs. */
import { describe, expect, it } from 'vitest';
import { runWithKeys } from '../../src/helper/keyed-command.ts';

const first = Buffer.from('a-key-that-is-not-to-be-seen-anywhere');
const second = Buffer.from('another-one-that-follows-the-first-one');

describe('a program that is given keys', () => {
  it('has them one behind the other as its input, and nowhere else', async () => {
    const script = 'cat; tr "\\0" " " </proc/$$/cmdline >&2; tr "\\0" " " </proc/$$/environ >&2';
    const result = await runWithKeys('x', 'sh', ['-c', script], [first, second]);
    expect(result.exitCode).toBe(0);
    expect(result.stdout).toEqual(Buffer.concat([first, second]));
    expect(result.said).toContain('LC_ALL=C');
    expect(result.said).not.toContain('not shown');
  });

  it('is not quoted if it says one', async () => {
    const result = await runWithKeys('x', 'sh', ['-c', 'cat >&2; exit 3'], [first]);
    expect(result).toMatchObject({ exitCode: 3, said: 'what it said is not shown' });
  });

  it('need not read them', async () => {
    const many = Buffer.alloc(1 << 20, 'k');
    const result = await runWithKeys('x', 'sh', ['-c', 'echo no >&2; exit 2'], [many]);
    expect(result).toMatchObject({ exitCode: 2, said: 'no' });
  });

  it('that is killed is a failure with its name, not its input', async () => {
    const killed = runWithKeys('vg0/web', 'sh', ['-c', 'kill -9 $$'], [first]);
    await expect(killed).rejects.toMatchObject({
      code: 'HELPER_FAILED',
      message: 'vg0/web: sh -c was ended by SIGKILL.',
    });
  });

  it('that is not installed is named', async () => {
    const missing = Promise.resolve().then(() => runWithKeys('x', 'no-such-program', [], [first]));
    await expect(missing).rejects.toMatchObject({
      code: 'HELPER_FAILED',
      message: expect.stringContaining('no-such-program') as string,
    });
  });
});

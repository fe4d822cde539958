/** What docs/operate.md says about codes is checked against the program. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { EXIT_HELP } from '../../src/cli/exit-codes.ts';
import { isPassing } from '../../src/core/errors.ts';
import type { ErrorCode } from '../../src/core/errors.ts';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
// Tables are padded for the eye.
const operate = read('docs/operate.md').replaceAll(/ +/g, ' ');
const codes = [...read('src/core/errors.ts').matchAll(/^ {2}\| '([A-Z_]+)'/gm)].map(
  ([, code]) => code as ErrorCode,
);

describe('docs/operate.md', () => {
  it('names every error code', () => {
    expect(codes.length).toBeGreaterThan(20);
    for (const code of codes) expect(operate).toContain(`\`${code}\``);
  });

  it('says of each that is tried again by itself that it is', () => {
    for (const code of codes) {
      const row = operate.split('\n').find((line) => line.startsWith(`| \`${code}\` |`));
      if (row !== undefined)
        expect([code, row.includes('| yes |')]).toEqual([code, isPassing({ code, message: '' })]);
    }
  });

  it('has the exit codes of lvp --help', () => {
    for (const [, code, meaning] of EXIT_HELP.matchAll(/^ {2}(\d) {2}(.*)$/gm)) {
      expect(operate.replaceAll('`', '')).toContain(`| ${code ?? ''} | ${meaning ?? ''} |`);
    }
  });
});

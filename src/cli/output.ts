/** Where a verb's words go: text for people, JSON for programs, failures in either. */
import { writeSync } from 'node:fs';
import { cursorTo, moveCursor, clearScreenDown } from 'node:readline';
import type { Problem } from '../core/errors.ts';

export class Output {
  readonly json: boolean;
  /** NO_COLOR (no-color.org), TERM=dumb and everything that is not a terminal get plain text. */
  readonly colour: boolean;
  /** Lines can be painted over. */
  readonly live: boolean;
  #paintedLines = 0;

  constructor(json: boolean) {
    this.json = json;
    const isTerminal = process.stdout.isTTY && process.env['TERM'] !== 'dumb';
    this.live = isTerminal && !json;
    this.colour = this.live && (process.env['NO_COLOR'] ?? '') === '';
  }

  /** The result of a verb: `value` for programs, `text` for people. */
  result(value: unknown, text: () => string): void {
    this.line(this.json ? JSON.stringify(value, undefined, 2) : text());
  }

  line(text: string): void {
    // Synchronous, so that nothing is lost when the process ends right after.
    writeAll(1, `${text}\n`);
  }

  /** Paints over what the last call painted. */
  repaint(text: string): void {
    if (this.#paintedLines > 0) {
      moveCursor(process.stdout, 0, -this.#paintedLines);
      cursorTo(process.stdout, 0);
      clearScreenDown(process.stdout);
    }
    // A line that wraps would count as two and spoil the next painting.
    const width = process.stdout.columns;
    const lines = text.split('\n').map((line) => (this.colour ? line : line.slice(0, width)));
    this.#paintedLines = lines.reduce(
      (rows, line) => rows + Math.max(1, Math.ceil(shownLength(line) / width)),
      0,
    );
    process.stdout.write(`${lines.join('\n')}\n`);
  }

  note(text: string): void {
    writeAll(2, `${text}\n`);
  }

  problem(problem: Problem): void {
    if (this.json) {
      this.line(JSON.stringify({ error: problem }, undefined, 2));
      return;
    }
    const hint = problem.hint === undefined ? '' : `\n${problem.hint.trimStart()}`;
    this.note(`lvp: ${problem.message}${hint}`);
  }
}

function shownLength(line: string): number {
  // eslint-disable-next-line no-control-regex -- the escape sequences that colour a line take no room
  return line.replace(/\x1b\[[0-9;]*m/g, '').length;
}

function writeAll(fd: 1 | 2, text: string): void {
  try {
    writeSync(fd, text);
  } catch (error) {
    // The reader has gone (`lvp list | head -1`): there is nobody left to tell.
    if (!(error instanceof Error && 'code' in error && error.code === 'EPIPE')) throw error;
  }
}

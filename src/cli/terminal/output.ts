/** Where a verb's words go: text for people, JSON for programs, failures in either. */
import { writeSync } from 'node:fs';
import type { Problem } from '../../core/errors.ts';

/** How text for people may look. */
export interface Look {
  readonly colour: boolean;
  /** Columns of the terminal; undefined: not on one, so that nothing is shortened. */
  readonly width: number | undefined;
}

/** Paints over what it has painted. */
export interface Painter {
  paint(text: string): void;
  /** Takes it away, for the result to come. */
  clear(): void;
}

export class Output {
  readonly json: boolean;
  /** NO_COLOR (no-color.org), TERM=dumb and everything that is not a terminal get plain text. */
  readonly colour: boolean;
  /** Lines can be painted over. */
  readonly live: boolean;
  readonly #isTerminal: boolean;

  constructor(json: boolean) {
    this.json = json;
    this.#isTerminal = process.stdout.isTTY && !json;
    this.live = this.#isTerminal && process.env['TERM'] !== 'dumb';
    this.colour = this.live && (process.env['NO_COLOR'] ?? '') === '';
  }

  get look(): Look {
    return { colour: this.colour, width: this.#isTerminal ? columns() : undefined };
  }

  /** The result of a verb: `value` for programs, `text` for people. */
  result(value: unknown, text: () => string): void {
    this.line(this.json ? JSON.stringify(value, undefined, 2) : text());
  }

  line(text: string): void {
    // Synchronous, so that nothing is lost when the process ends right after.
    writeAll(1, `${text}\n`);
  }

  /** Undefined unless the output is live. */
  async painter(): Promise<Painter | undefined> {
    if (!this.live) return undefined;
    const { createLogUpdate } = await import('log-update');
    const update = createLogUpdate(process.stdout);
    return {
      paint: (text) => {
        update(asHighAs(text, process.stdout.rows));
      },
      clear: () => {
        update.clear();
        update.done();
      },
    };
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

/** A terminal of another program's making may not know its own width. */
function columns(): number | undefined {
  const known = process.stdout.columns || Number(process.env['COLUMNS']);
  return known > 0 ? known : undefined;
}

/** What does not fit is said to be there, and shown in the end. */
function asHighAs(text: string, rows: number): string {
  const lines = text.split('\n');
  // The cursor stands on a line of its own.
  const room = Math.max(2, (rows > 0 ? rows : 24) - 1);
  if (lines.length <= room) return text;
  return [...lines.slice(0, room - 1), `… and ${lines.length - room + 1} lines more`].join('\n');
}

function writeAll(fd: 1 | 2, text: string): void {
  try {
    writeSync(fd, text);
  } catch (error) {
    // The reader has gone (`lvp list | head -1`): there is nobody left to tell.
    if (!(error instanceof Error && 'code' in error && error.code === 'EPIPE')) throw error;
  }
}

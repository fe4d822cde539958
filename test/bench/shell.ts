/** Programs, and the order in which to undo what a bench has set up. */
import type { ChildProcess } from 'node:child_process';
import { spawn, spawnSync } from 'node:child_process';

export type Environment = Readonly<Record<string, string>>;

/** Command lines under way. Each leads a process group, so that all it has started can be ended with it. */
const underWay = new Set<ChildProcess>();

/** Output of a short program that must succeed. */
export function run(program: string, words: readonly string[]): string {
  const result = spawnSync(program, words, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1024 * 1024,
  });
  if (result.status === 0) return result.stdout;
  throw new Error(`${program} ${words.join(' ')}: ${result.error?.message ?? result.stderr}`);
}

/** Output and seconds of a command line, which may take its time: signals are heard meanwhile. */
export async function timed(
  line: string,
  environment: Environment = {},
): Promise<{ readonly output: string; readonly seconds: number }> {
  const startMs = performance.now();
  const child = spawn('bash', ['-euo', 'pipefail', '-c', line], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...environment },
    detached: true,
  });
  underWay.add(child);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const exitCode = await new Promise((ended) => child.on('close', ended));
  const seconds = (performance.now() - startMs) / 1000;
  underWay.delete(child);
  if (exitCode !== 0) throw new Error(`failed with ${String(exitCode)}: ${line}`);
  return { output, seconds };
}

/** Ends all command lines that are under way, with what they have started. */
export async function endAll(): Promise<void> {
  const ending = [...underWay].map(async (child) => {
    if (child.pid === undefined) return;
    const ended = new Promise((resolve) => child.once('close', resolve));
    process.kill(-child.pid);
    await ended;
  });
  await Promise.all(ending);
}

/** Undone last in, first out, also after a failure; once, whoever asks for it. */
export class Cleanup {
  readonly #tasks: (() => unknown)[] = [];
  #undoing: Promise<void> | undefined;

  add(task: () => unknown): void {
    this.#tasks.push(task);
  }

  /** For a part of the work that ends earlier. */
  part(): Cleanup {
    const part = new Cleanup();
    this.add(() => part.all());
    return part;
  }

  all(): Promise<void> {
    return (this.#undoing ??= this.#undo());
  }

  /** What a signal interrupts may add something until it notices: that is undone as well. */
  async #undo(): Promise<void> {
    for (let task = this.#tasks.pop(); task !== undefined; task = this.#tasks.pop()) {
      try {
        await task();
      } catch (error) {
        process.stderr.write(`not undone: ${error instanceof Error ? error.message : String(error)}\n`);
      }
    }
  }
}

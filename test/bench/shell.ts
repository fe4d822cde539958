/** Programs, and the order in which to undo what a bench has set up. */
import { spawn, spawnSync } from 'node:child_process';

export type Environment = Readonly<Record<string, string>>;

/** Output of a program that must succeed. */
export function run(program: string, words: readonly string[], environment: Environment = {}): string {
  const result = spawnSync(program, words, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
    maxBuffer: 1024 * 1024,
  });
  if (result.status === 0) return result.stdout;
  throw new Error(`${program} ${words.join(' ')}: ${result.error?.message ?? result.stderr}`);
}

/** Output and seconds of a command line. */
export async function timed(
  line: string,
  environment: Environment,
): Promise<{ readonly output: string; readonly seconds: number }> {
  const startMs = performance.now();
  const child = spawn('bash', ['-euo', 'pipefail', '-c', line], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...environment },
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const exitCode = await new Promise((ended) => child.on('close', ended));
  const seconds = (performance.now() - startMs) / 1000;
  if (exitCode !== 0) throw new Error(`failed with ${String(exitCode)}: ${line}`);
  return { output, seconds };
}

/** Undone last in, first out, also after a failure. */
export class Cleanup {
  readonly #tasks: (() => unknown)[] = [];

  add(task: () => unknown): void {
    this.#tasks.push(task);
  }

  async all(): Promise<void> {
    for (const task of this.#tasks.reverse()) await task();
  }
}

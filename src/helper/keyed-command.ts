/**
 * Running a program that is given keys, or answers one: over its standard input and output alone. Not by execa, which
 * keeps copies of what it passes on that nobody could wipe.
 */
import { spawn } from 'node:child_process';
import { ProvisionError } from '../core/errors.ts';
import { COMMAND_ENVIRONMENT, COMMAND_TIME_MAX_MS, programPath } from './command.ts';

const STDOUT_BYTES_MAX = 8192;
const STDERR_BYTES_MAX = 8192;
const STDERR_CHARS_SHOWN = 500;
const KILL_AFTER_MS = 15_000;

export interface KeyedResult {
  readonly exitCode: number;
  /** Whoever asked for it wipes it. */
  readonly stdout: Buffer;
  /** For a message; never with one of the keys in it. */
  readonly said: string;
}

/** Runs the program with the keys, one behind the other, as its whole input. */
export function runWithKeys(
  about: string,
  name: string,
  argv: readonly string[],
  keys: readonly Buffer[],
): Promise<KeyedResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(programPath(name), argv, { cwd: '/', env: COMMAND_ENVIRONMENT, stdio: 'pipe' });
    const stdout = new Collected(STDOUT_BYTES_MAX);
    const stderr = new Collected(STDERR_BYTES_MAX);
    child.stdout.on('data', (chunk: Buffer) => {
      stdout.add(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr.add(chunk);
    });
    // A program that ends without having read everything says why by its exit code.
    child.stdin.on('error', () => undefined);
    for (const key of keys) child.stdin.write(key);
    child.stdin.end();
    const end = endInTime(child);
    const fail = (code: 'TIMEOUT' | 'HELPER_FAILED', what: string): void => {
      stdout.wipe();
      reject(new ProvisionError({ code, message: `${about}: ${name} ${argv[0] ?? ''} ${what}.` }));
    };
    child.on('error', (error) => {
      end.stop();
      fail('HELPER_FAILED', `could not be run: ${error.message}`);
    });
    child.on('close', (exitCode, signal) => {
      end.stop();
      if (end.isLate()) fail('TIMEOUT', `was ended after ${COMMAND_TIME_MAX_MS / 1000} s`);
      else if (exitCode === null) fail('HELPER_FAILED', `was ended by ${signal ?? 'a signal'}`);
      else resolve({ exitCode, stdout: stdout.take(), said: withoutKeys(stderr.take(), keys) });
    });
  });
}

/** A key is in no message of the programs that are run here; should it ever be in one, that stays here. */
function withoutKeys(bytes: Buffer, keys: readonly Buffer[]): string {
  if (keys.some((key) => bytes.includes(key))) {
    bytes.fill(0);
    return 'what it said is not shown';
  }
  const text = bytes.toString('utf8').replaceAll(/\s+/g, ' ').trim();
  return text.slice(-STDERR_CHARS_SHOWN) || 'it said nothing';
}

/** First asked to end, for it may be in the middle of writing a header; then killed. */
function endInTime(child: ReturnType<typeof spawn>) {
  let late = false;
  let kill: NodeJS.Timeout | undefined;
  const term = setTimeout(() => {
    late = true;
    child.kill('SIGTERM');
    kill = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS);
  }, COMMAND_TIME_MAX_MS);
  return {
    isLate: () => late,
    stop() {
      clearTimeout(term);
      clearTimeout(kill);
    },
  };
}

/** Output up to a limit; what is beyond it is dropped, and every chunk is overwritten. */
class Collected {
  readonly #bytes: Buffer;
  #length = 0;

  constructor(lengthMax: number) {
    this.#bytes = Buffer.alloc(lengthMax);
  }

  add(chunk: Buffer): void {
    this.#length += chunk.copy(this.#bytes, this.#length);
    chunk.fill(0);
  }

  take(): Buffer {
    const taken = Buffer.alloc(this.#length);
    this.#bytes.copy(taken, 0, 0, this.#length);
    this.wipe();
    return taken;
  }

  wipe(): void {
    this.#bytes.fill(0);
  }
}

/** Running one program of the system: fixed path, fixed environment, bounded time and output, no shell. */
import { accessSync, constants } from 'node:fs';
import { execa } from 'execa';
import { ProvisionError } from '../core/errors.ts';

/** Where Debian and Red Hat keep lvm2, cryptsetup and util-linux. Nothing the caller's environment says is looked at. */
const FOLDERS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'];

export const COMMAND_TIME_MAX_MS = 60_000;
export const COMMAND_ENVIRONMENT = { PATH: FOLDERS.join(':'), LC_ALL: 'C', LVM_SUPPRESS_FD_WARNINGS: '1' };
const OUTPUT_CHARS_MAX = 64 * 1024 * 1024;
const STDERR_LINES_SHOWN = 4;

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command and answers whatever it said; throws only if it could not run to its end. */
export async function runCommand(
  about: string,
  name: string,
  argv: readonly string[],
): Promise<CommandResult> {
  const result = await execa(programPath(name), argv, {
    cwd: '/',
    extendEnv: false,
    env: COMMAND_ENVIRONMENT,
    stdin: 'ignore',
    reject: false,
    timeout: COMMAND_TIME_MAX_MS,
    // LVM waits for its locks without end. An interrupt makes it give up waiting, and is put off while
    // metadata is being written: man 8 lvm knows no option that does the same.
    killSignal: 'SIGINT',
    forceKillAfterDelay: 15_000,
    maxBuffer: OUTPUT_CHARS_MAX,
    stripFinalNewline: true,
  });
  if (result.timedOut) {
    throw new ProvisionError({
      code: 'TIMEOUT',
      message: `${about}: ${shown(name, argv)} was ended after ${COMMAND_TIME_MAX_MS / 1000} s.`,
      hint: 'Look for another LVM command that holds the lock (lsof /run/lock/lvm/*) or for a disk that does not answer.',
      cause: result,
    });
  }
  if (result.exitCode === undefined) {
    throw new ProvisionError({
      code: 'HELPER_FAILED',
      message: `${about}: ${shown(name, argv)} did not run to its end: ${result.originalMessage ?? result.shortMessage ?? 'unknown'}.`,
      cause: result,
    });
  }
  return { exitCode: result.exitCode, stdout: result.stdout, stderr: result.stderr };
}

/** Runs a command that must succeed. */
export async function mustRun(about: string, name: string, argv: readonly string[]): Promise<string> {
  const result = await runCommand(about, name, argv);
  if (result.exitCode !== 0) throw commandFailed(about, name, argv, result);
  return result.stdout;
}

export function commandFailed(
  about: string,
  name: string,
  argv: readonly string[],
  result: CommandResult,
): ProvisionError {
  const lines = result.stderr
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .slice(-STDERR_LINES_SHOWN);
  return new ProvisionError({
    code: 'HELPER_FAILED',
    message: `${about}: ${shown(name, argv)} ended with exit code ${result.exitCode}: ${lines.join(' ') || 'it said nothing'}`,
    hint: 'Run the same command as root to see whether it works by hand.',
    cause: result,
  });
}

function shown(name: string, argv: readonly string[]): string {
  return `"${[name, ...argv].join(' ')}"`;
}

/** The path of a program of the system; HELPER_FAILED if it is not installed. */
export function programPath(name: string): string {
  for (const folder of FOLDERS) {
    const path = `${folder}/${name}`;
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here: the next folder may have it.
    }
  }
  throw new ProvisionError({
    code: 'HELPER_FAILED',
    message: `The program ${name} is not installed: it is in none of ${FOLDERS.join(', ')}.`,
    hint: 'Install the packages cryptsetup-bin, lvm2, udev and util-linux.',
  });
}

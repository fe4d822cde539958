/** Programs of this host: fixed words, fixed places, fixed environment, bounded time and output, no shell. */
import { accessSync, constants } from 'node:fs';
import { execa } from 'execa';
import type { Answer } from '../../doctor/host.ts';

const FOLDERS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'];
const TIME_MAX_MS = 8_000;
/** A reload waits for libvirtd, which may be starting guests. */
const CHANGE_TIME_MAX_MS = 30_000;
const OUTPUT_CHARS_MAX = 4 * 2 ** 20;

/** What it printed if it went well, else its last words. */
export async function runCommand(argv: readonly string[], timeMaxMs = TIME_MAX_MS): Promise<Answer<string>> {
  const [name = '', ...words] = argv;
  const path = FOLDERS.map((folder) => `${folder}/${name}`).find(isExecutable);
  if (path === undefined) return { is: 'absent' };
  const result = await execa(path, words, {
    cwd: '/',
    extendEnv: false,
    env: { PATH: FOLDERS.join(':'), LC_ALL: 'C', LVM_SUPPRESS_FD_WARNINGS: '1' },
    stdin: 'ignore',
    reject: false,
    timeout: timeMaxMs,
    forceKillAfterDelay: 1_000,
    maxBuffer: OUTPUT_CHARS_MAX,
  });
  if (result.exitCode === 0) return { is: 'known', value: result.stdout };
  if (result.timedOut) return { is: 'unknown', why: `${name} did not end within ${timeMaxMs / 1000} s` };
  const said = result.stderr.trim().split('\n').at(-1)?.slice(0, 300) ?? '';
  return {
    is: 'unknown',
    why: `${name} ended with exit code ${result.exitCode ?? 'none'}: ${said || 'it said nothing'}`,
  };
}

/** Throws if it did not go well. */
export async function mustChange(argv: readonly string[]): Promise<void> {
  const answer = await runCommand(argv, CHANGE_TIME_MAX_MS);
  if (answer.is === 'known') return;
  throw new Error(
    answer.is === 'absent' ? `${argv[0] ?? ''} is not installed` : `${argv.join(' ')}: ${answer.why}`,
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

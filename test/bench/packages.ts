/** Programs a bench compares with, from Debian's packages. */
import { spawnSync } from 'node:child_process';
import { timed } from './shell.ts';

const INSTALL =
  'apt-get update -qq >&2; apt-get install -qq -y --no-install-recommends nbdkit libnbd-bin >&2';

/** False where nbdkit is neither there nor to be had: what it is for is left out then. */
export async function installNbdkit(): Promise<boolean> {
  if (isThere('nbdkit') && isThere('nbdcopy')) return true;
  await timed(INSTALL, { DEBIAN_FRONTEND: 'noninteractive' }).catch(() => undefined);
  return isThere('nbdkit') && isThere('nbdcopy');
}

/** The first line of what `PROGRAM --version` says. */
export function versionOf(program: string): string {
  const { status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return status === 0 ? (stdout.split('\n')[0] ?? '').replace(/ \(.*/, '') : `no ${program}`;
}

function isThere(program: string): boolean {
  return spawnSync(program, ['--version']).status === 0;
}

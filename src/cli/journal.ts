/** The journal of the provisioner's units, through journalctl(1). */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { ProvisionError } from '../core/errors.ts';

const UNITS = ['libvirt-volume-provisioner', 'libvirt-volume-provisioner-helper'];
const STDERR_MAX = 4096;

export interface JournalRequest {
  /** Unix time in ms. */
  readonly sinceMs?: number | undefined;
  /** Go on with what comes, until somebody ends it. */
  readonly follow: boolean;
}

/** Each entry as a line of JSON, oldest first. DAEMON_UNREACHABLE if the journal may not or cannot be read. */
export async function readJournal(request: JournalRequest, take: (line: string) => void): Promise<void> {
  const child = spawn('journalctl', argumentsOf(request), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C', SYSTEMD_PAGER: '' },
  });
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    complaint = (complaint + chunk).slice(0, STDERR_MAX);
    // Some of it would be left out without a word.
    if (isForbidden(complaint)) child.kill();
  });
  child.once('error', reject);
  child.once('close', resolve);
  createInterface({ input: child.stdout }).on('line', take);
  const exitCode = await promise.catch((error: unknown) => {
    throw unreadable(`journalctl cannot be run: ${error instanceof Error ? error.message : String(error)}`);
  });
  if (isForbidden(complaint)) throw forbidden();
  if (exitCode !== 0) throw unreadable(`journalctl ended with ${String(exitCode)}: ${complaint.trim()}`);
}

function argumentsOf({ sinceMs, follow }: JournalRequest): string[] {
  return [
    '--output=json',
    '--no-pager',
    ...UNITS.map((unit) => `--unit=${unit}`),
    ...(sinceMs === undefined ? [] : [`--since=@${Math.floor(sinceMs / 1000)}`]),
    ...(follow ? ['--follow', '--no-tail'] : []),
  ];
}

function isForbidden(complaint: string): boolean {
  return /insufficient permissions|not seeing messages from other users/.test(complaint);
}

function forbidden(): ProvisionError {
  return new ProvisionError({
    code: 'DAEMON_UNREACHABLE',
    message: 'You may not read the journal of this host.',
    hint: "Use sudo, or become a member of the group 'systemd-journal' (usermod -aG systemd-journal USER) and log in again.",
  });
}

function unreadable(why: string): ProvisionError {
  return new ProvisionError({
    code: 'DAEMON_UNREACHABLE',
    message: `The journal cannot be read: ${why}.`,
    hint: 'lvp logs reads the journal of the host that it runs on: systemctl status systemd-journald',
  });
}

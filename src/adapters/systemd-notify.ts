/**
 * Tells systemd how the daemon is doing. Node has no unix datagram sockets, so systemd's own program speaks
 * for us (the unit has NotifyAccess=all for it). https://www.freedesktop.org/software/systemd/man/sd_notify.html
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Log } from '../provision/ports/host.ts';

const run = promisify(execFile);

/** Ready, stopping, status line, or sign of life; does nothing when not run by systemd. */
export async function systemdNotify(log: Log, ...words: readonly string[]): Promise<void> {
  if (process.env['NOTIFY_SOCKET'] === undefined) return;
  try {
    await run('systemd-notify', words, { timeout: 10_000 });
  } catch (error) {
    log.warn({ err: error }, 'systemd could not be told');
  }
}

/** Sends the sign of life four times in the unit's WatchdogSec, so that one may get lost; returns how to end it. */
export function keepWatchdogFed(log: Log): () => void {
  const watchdogUs = Number(process.env['WATCHDOG_USEC']);
  if (!Number.isFinite(watchdogUs) || watchdogUs <= 0) return () => undefined;
  void systemdNotify(log, 'WATCHDOG=1');
  const timer = setInterval(() => void systemdNotify(log, 'WATCHDOG=1'), watchdogUs / 4000);
  return () => {
    clearInterval(timer);
  };
}

/** Our units, as the service manager shows them. */
import { CannotTell, must } from './check.ts';
import type { CommandName } from './commands.ts';
import type { HostFacts } from './host.ts';
import type { Shown } from './settings.ts';
import { readShown } from './settings.ts';

/** A unit of ours that is installed. */
export async function shownUnit(host: HostFacts, command: CommandName): Promise<Shown> {
  const [unit] = readShown(must(await host.run(command), 'systemctl show'));
  if (unit?.get('LoadState') === 'loaded') return unit;
  throw new CannotTell(`the unit is not installed (${unit?.get('LoadState') ?? 'nothing was shown'})`);
}

/** The process of the running daemon. */
export async function daemonPid(host: HostFacts): Promise<number> {
  const pid = Number((await shownUnit(host, 'show-daemon')).get('MainPID'));
  if (pid > 0) return pid;
  throw new CannotTell('the daemon does not run');
}

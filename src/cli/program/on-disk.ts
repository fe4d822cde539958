/** Verbs that act on all disks of a domain or on one, and answer with its status. */
import type { Command } from 'commander';
import type { DomainStatus } from '../../core/protocol/control-protocol.ts';
import type { Daemon } from '../daemon.ts';
import { domainText } from '../terminal/format.ts';
import type { ExitCode } from './exit-codes.ts';
import { EXIT } from './exit-codes.ts';
import { contextOf } from './verb.ts';

export function onDisk(
  command: Command,
  finish: (code: ExitCode) => void,
  act: (daemon: Daemon, vm: string, disk: string | undefined) => Promise<DomainStatus>,
): void {
  command
    .argument('<vm>', 'name or UUID of the domain')
    .argument('[disk]', "the disk's target, such as vda; without it, all of them")
    .action(async (vm: string, disk: string | undefined, _options: object, self: Command) => {
      const { daemon, output } = contextOf(self, finish);
      const domain = await act(daemon, vm, disk);
      output.result(domain, () => domainText(domain, output.look));
      finish(EXIT.ok);
    });
}

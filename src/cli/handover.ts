/** `lvp handover VM`: what another host has to know before the domain comes there with its storage. */
import type { Command } from 'commander';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';

export const addHandover: AddVerb = (program, finish) => {
  const command = program
    .command('handover')
    .argument('<vm>', 'name or UUID of the domain')
    .description('print what another host must know to receive the domain with its storage, as JSON');
  common(command, ['lvp handover web1 | ssh host2 lvp receive'], 'host').action(
    async (vm: string, _options: object, self: Command) => {
      const { daemon, output } = contextOf(self, finish);
      output.line(JSON.stringify(await daemon.handover(vm), undefined, 2));
      finish(EXIT.ok);
    },
  );
};

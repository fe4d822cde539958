/** `lvp metrics`: what Prometheus is told. */
import type { Command } from 'commander';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';

export const addMetrics: AddVerb = (program, finish) => {
  const command = program
    .command('metrics')
    .description('print what Prometheus is told of the provisioner, in its text format');
  common(command, ['lvp metrics', "lvp metrics | grep '^lvp_fills'"]).action(
    async (_options: object, self: Command) => {
      const { daemon, output } = contextOf(self, finish);
      const text = await daemon.metrics();
      output.result({ text }, () => text.trimEnd());
      finish(EXIT.ok);
    },
  );
};

/** `lvp status VM [--watch]`: one domain, and its fills while they run. */
import type { Command } from 'commander';
import { exitCodeOfStatus } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';
import { domainText } from './terminal/format.ts';
import { watchedDomain } from './terminal/watched.ts';
import { watch } from './watch.ts';

export const addStatus: AddVerb = (program, finish) => {
  const command = program
    .command('status')
    .argument('<vm>', 'name or UUID of the domain')
    .option('-w, --watch', 'stay until nothing is under way any more, and show progress')
    .description("show a domain's volumes; the exit code says whether all are ready");
  common(command, [
    'lvp status web1',
    'lvp status web1 --watch && virsh start web1',
    'lvp status web1 --json',
  ]).action(async (vm: string, options: { watch?: boolean }, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    if (options.watch === true) {
      finish(exitCodeOfStatus(await watch(output, watchedDomain(daemon, vm))));
      return;
    }
    const domain = await daemon.domain(vm);
    output.result(domain, () => domainText(domain, output.look));
    finish(exitCodeOfStatus(domain));
  });
};

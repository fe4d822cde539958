/** `lvp list [--watch]`: every annotated domain, and all fills while they run. */
import type { Command } from 'commander';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';
import { listText } from './terminal/format.ts';
import { watchedDomains } from './terminal/watched.ts';
import { watch } from './watch.ts';

export const addList: AddVerb = (program, finish) => {
  const command = program
    .command('list')
    .alias('ls')
    .option('-w, --watch', 'stay until nothing is under way any more, and show the progress of all')
    .description('show every annotated domain and its volumes');
  common(command, [
    'lvp list',
    'lvp list --watch',
    "lvp list --json | jq -r '.[] | select(.problems | length > 0) | .name'",
    'lvp list --server https://host1.example.net:8080 --token-file ./token',
  ]).action(async (options: { watch?: boolean }, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    if (options.watch === true) await watch(output, watchedDomains(daemon));
    else {
      const domains = await daemon.domains();
      output.result(domains, () => listText(domains, output.look));
    }
    finish(EXIT.ok);
  });
};

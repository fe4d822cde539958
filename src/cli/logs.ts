/** `lvp logs VM [DISK]`: one volume's story from the journal. */
import type { Command } from 'commander';
import { isUuid } from '../core/uuid.ts';
import { readJournal } from './journal.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb, Context } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';
import { MOMENT_HELP, parseMoment } from './terminal/moment.ts';
import { Story } from './terminal/story.ts';

interface LogsOptions {
  readonly since?: number;
  readonly follow?: boolean;
}

export const addLogs: AddVerb = (program, finish) => {
  const command = program
    .command('logs')
    .argument('<vm>', 'name or UUID of the domain; of one that is gone its UUID')
    .argument('[disk]', 'target of one of its disks, e.g. vda')
    .option('--since <time>', `only from then on: ${MOMENT_HELP}`, parseMoment)
    .option('-f, --follow', 'go on with what comes')
    .description("show a domain's story, or one disk's, from the journal of this host");
  common(
    command,
    [
      'lvp logs web1',
      'lvp logs web1 vda --since 2h',
      'lvp logs web1 --follow',
      'lvp logs web1 --json | jq -r .MESSAGE',
    ],
    'host',
  ).action(async (vm: string, disk: string | undefined, options: LogsOptions, self: Command) => {
    const context = contextOf(self, finish);
    const { output } = context;
    const story = new Story(await uuidOf(context, vm), disk);
    const { since: sinceMs, follow = false } = options;
    let count = 0;
    await readJournal({ sinceMs, follow }, (json) => {
      const line = story.lineOf(json);
      if (line === undefined) return;
      count += 1;
      output.line(output.json ? json : line);
    });
    if (count === 0) output.note('The journal says nothing of it.');
    finish(EXIT.ok);
  });
};

/** With its UUID it can be asked for while the daemon is stopped. */
async function uuidOf({ daemon }: Context, vm: string): Promise<string> {
  return isUuid(vm) ? vm : (await daemon.domain(vm)).uuid;
}

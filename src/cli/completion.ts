/**
 * `lvp completion SHELL` prints the script with which a shell completes lvp. The scripts ask the hidden verb
 * `lvp complete -- WORDS`, whose last word is the one being typed: it answers with a candidate a line, a tab and
 * what it is, or with a tab and `file` where the shell knows better. It says nothing else, changes nothing, and
 * does not wait.
 */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { Argument } from 'commander';
import { candidatesFor } from './completion/candidates.ts';
import { wantedAt } from './completion/wanted.ts';
import { Daemon } from './daemon.ts';
import { EXIT } from './program/exit-codes.ts';
import { transportOf } from './program/global-options.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';
import { Output } from './terminal/output.ts';

/** Somebody has pressed a key and waits. */
const ASK_DEADLINE_MS = 300;

export const addCompletion: AddVerb = (program, finish) => {
  addComplete(program, finish);
  const command = program
    .command('completion')
    .addArgument(new Argument('<shell>', 'the shell that is to load it').choices(['bash', 'zsh', 'fish']))
    .description(
      'print a script that completes lvp by TAB; the package has installed it for all three shells',
    );
  common(
    command,
    ['source <(lvp completion bash)', 'source <(lvp completion zsh)', 'lvp completion fish | source'],
    'nowhere',
  ).action((shell: string, _options: object, self: Command) => {
    const { output } = contextOf(self, finish);
    const script = readFileSync(new URL(`completion/lvp.${shell}`, import.meta.url), 'utf8').trimEnd();
    output.result({ shell, script }, () => script);
    finish(EXIT.ok);
  });
};

const addComplete: AddVerb = (program, finish) => {
  program
    .command('complete', { hidden: true })
    .argument('[words...]')
    .allowUnknownOption()
    .action(async (words: readonly string[]) => {
      finish(EXIT.ok);
      // Whatever goes wrong here is no matter of the line that is being typed.
      const lines = await answer(program, words).catch(() => []);
      if (lines.length > 0) new Output(false).line(lines.join('\n'));
    });
};

async function answer(program: Command, words: readonly string[]): Promise<readonly string[]> {
  const wanted = wantedAt(program, words);
  if (wanted.place.kind === 'file') return ['\tfile'];
  // Files that are named wrongly are no reason to say nothing of verbs and options.
  const daemon = () => new Daemon(transportOf(wanted.asked, ASK_DEADLINE_MS));
  const candidates = await candidatesFor(wanted, {
    domains: async () => daemon().domains(),
    disks: async () => daemon().disks(),
    images: async () => daemon().images(),
    stored: async () => daemon().storedImages(),
    jobs: async () => daemon().jobs(),
  });
  return candidates.map(({ word, about }) => `${wanted.lead}${word}\t${about.replace(/\p{Cc}/gu, ' ')}`);
}

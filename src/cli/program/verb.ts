/** What every verb is made of. */
import type { Command } from 'commander';
import { Daemon } from '../daemon.ts';
import { Output } from '../terminal/output.ts';
import type { ExitCode } from './exit-codes.ts';
import type { GlobalOptions, Place } from './global-options.ts';
import { placeAt, transportOf } from './global-options.ts';

export interface Context {
  readonly daemon: Daemon;
  readonly output: Output;
  readonly finish: (code: ExitCode) => void;
}

/** Adds a verb to the program. */
export type AddVerb = (program: Command, finish: (code: ExitCode) => void) => void;

/** Daemon and output as the options of the whole program say. */
export function contextOf(command: Command, finish: (code: ExitCode) => void): Context {
  const options = command.optsWithGlobals<GlobalOptions>();
  return { daemon: new Daemon(transportOf(options)), output: new Output(options.json ?? false), finish };
}

/** For the manual page: commander keeps what stands under --help as text only. */
const EXAMPLES = new WeakMap<Command, readonly string[]>();

/** Command lines that show a verb at work. */
export function examplesOf(command: Command): readonly string[] {
  return EXAMPLES.get(command) ?? [];
}

/** What every verb has: where it works, and examples under --help. */
export function common(command: Command, examples: readonly string[], place: Place = 'anywhere'): Command {
  EXAMPLES.set(command, examples);
  placeAt(command, place);
  return command.addHelpText(
    'after',
    `\nExamples:\n${examples.map((example) => `  $ ${example}`).join('\n')}`,
  );
}

/** What every verb is made of. */
import type { Command } from 'commander';
import { CONTROL_SOCKET } from '../core/control-protocol.ts';
import { ControlClient } from './control-client.ts';
import type { ExitCode } from './exit-codes.ts';
import { Output } from './output.ts';

export interface Context {
  readonly client: ControlClient;
  readonly output: Output;
  readonly finish: (code: ExitCode) => void;
}

/** Adds a verb to the program. */
export type AddVerb = (program: Command, finish: (code: ExitCode) => void) => void;

/** Client and output as the options of the whole program say. */
export function contextOf(command: Command, finish: (code: ExitCode) => void): Context {
  const { json = false, socket } = command.optsWithGlobals<{ json?: boolean; socket?: string }>();
  const path = socket ?? process.env['LVP_SOCKET'] ?? CONTROL_SOCKET;
  return { client: new ControlClient(path), output: new Output(json), finish };
}

/** For the manual page: commander keeps what stands under --help as text only. */
const EXAMPLES = new WeakMap<Command, readonly string[]>();

/** Command lines that show a verb at work. */
export function examplesOf(command: Command): readonly string[] {
  return EXAMPLES.get(command) ?? [];
}

/** Options that every verb takes, and its examples under --help. */
export function common(command: Command, examples: readonly string[]): Command {
  EXAMPLES.set(command, examples);
  return command
    .option('--json', 'print JSON, for programs')
    .option('--socket <path>', `the provisioner's control socket (default: ${CONTROL_SOCKET})`)
    .addHelpText('after', `\nExamples:\n${examples.map((example) => `  $ ${example}`).join('\n')}`);
}

#!/usr/bin/env node
/** `lvp`: the provisioner's command line. One file per verb in cli/. */
import { CommanderError } from 'commander';
import type { ExitCode } from './cli/program/exit-codes.ts';
import { EXIT, exitCodeOf } from './cli/program/exit-codes.ts';
import { buildProgram } from './cli/program/program.ts';
import { Output } from './cli/terminal/output.ts';
import { toProblem } from './core/errors.ts';

function finish(code: ExitCode): void {
  process.exitCode = code;
}

async function main(args: readonly string[]): Promise<void> {
  try {
    await buildProgram(finish).parseAsync(args, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) {
      // Help and version end this way too, with 0; commander has said everything already.
      finish(error.exitCode === 0 ? EXIT.ok : EXIT.usage);
      return;
    }
    const problem = toProblem(error);
    new Output(args.includes('--json')).problem(problem);
    finish(exitCodeOf(problem));
  }
}

await main(process.argv.slice(2));

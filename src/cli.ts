#!/usr/bin/env node
/** `lvp`: the provisioner's command line. One file per verb in cli/. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { addAnnotate } from './cli/annotate.ts';
import { addCancel } from './cli/cancel.ts';
import { addConfig } from './cli/config-check.ts';
import { addDoctor } from './cli/doctor.ts';
import { addExplain } from './cli/explain.ts';
import { addHandover } from './cli/handover.ts';
import { addGc } from './cli/gc.ts';
import { addImage } from './cli/image.ts';
import { EXIT, EXIT_HELP, exitCodeOf } from './cli/exit-codes.ts';
import { addList } from './cli/list.ts';
import { Output } from './cli/output.ts';
import { addProvision } from './cli/provision.ts';
import { addReprovision } from './cli/reprovision.ts';
import { addReceive } from './cli/receive.ts';
import { addRetry } from './cli/retry.ts';
import { addSetup } from './cli/setup.ts';
import { addStatus } from './cli/status.ts';
import { toProblem } from './core/errors.ts';

const INTRODUCTION = `Fills the LVM volumes of libvirt domains from images in MinIO, before they start.

VM is a domain's name or UUID, DISK the target of one of its disks (vda), IMAGE an object as BUCKET/KEY.`;

function versionOf(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return version;
}

function finish(code: number): void {
  process.exitCode = code;
}

function buildProgram(): Command {
  const program = new Command('lvp')
    .description(INTRODUCTION)
    .version(versionOf(), '-V, --version')
    .showHelpAfterError('See: lvp --help')
    .exitOverride();
  for (const add of [
    addList,
    addStatus,
    addAnnotate,
    addExplain,
    addCancel,
    addRetry,
    addReprovision,
    addProvision,
    addHandover,
    addReceive,
    addGc,
    addImage,
    addConfig,
    addSetup,
    addDoctor,
  ]) {
    add(program, finish);
  }
  return program.addHelpText('after', `\n${EXIT_HELP}`);
}

async function main(args: readonly string[]): Promise<void> {
  try {
    await buildProgram().parseAsync(args, { from: 'user' });
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

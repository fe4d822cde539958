/** The command line of `lvp` as a whole. Building it runs nothing, so that its manual page can be made from it. */
import { Command } from 'commander';
import { programVersion } from '../../adapters/program-version.ts';
import { addAnnotate } from '../annotate.ts';
import { addAudit } from '../audit.ts';
import { addBackup, addRestore } from '../backup.ts';
import { addCancel } from '../cancel.ts';
import { addCompletion } from '../completion.ts';
import { addConfig } from '../config-check.ts';
import { addDoctor } from '../doctor.ts';
import { addExplain } from '../explain.ts';
import { addGc } from '../gc.ts';
import { addHandover } from '../handover.ts';
import { addImage } from '../image.ts';
import { addIncident } from '../incident.ts';
import { addJob } from '../job.ts';
import { addKey } from '../key.ts';
import { addList } from '../list.ts';
import { addLogs } from '../logs.ts';
import { addMetrics } from '../metrics.ts';
import { addProvision } from '../provision.ts';
import { addReceive } from '../receive.ts';
import { addReprovision } from '../reprovision.ts';
import { addRetry } from '../retry.ts';
import { addSetup } from '../setup.ts';
import { addStatus } from '../status.ts';
import { addToken } from '../token.ts';
import type { ExitCode } from './exit-codes.ts';
import { EXIT_HELP } from './exit-codes.ts';
import { withGlobalOptions } from './global-options.ts';

const INTRODUCTION = `Fills the LVM volumes of libvirt domains from images in MinIO, before they start.

VM is a domain's name or UUID, DISK the target of one of its disks (vda), IMAGE an object as BUCKET/KEY.`;

/** All verbs with their options; `finish` is told how the one that was called has ended. */
export function buildProgram(finish: (code: ExitCode) => void): Command {
  const program = withGlobalOptions(new Command('lvp'))
    .description(INTRODUCTION)
    .version(programVersion(), '-V, --version')
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
    addJob,
    addHandover,
    addReceive,
    addGc,
    addImage,
    addKey,
    addToken,
    addConfig,
    addSetup,
    addDoctor,
    addAudit,
    addLogs,
    addMetrics,
    addIncident,
    addBackup,
    addRestore,
    addCompletion,
  ]) {
    add(program, finish);
  }
  nameHelp(program, 'lvp');
  return program.addHelpText('after', `\n${EXIT_HELP}`);
}

/** Whoever gets a verb's words wrong is shown that verb's help. */
function nameHelp(command: Command, words: string): void {
  command.showHelpAfterError(`See: ${words} --help`);
  for (const verb of command.commands) nameHelp(verb, `${words} ${verb.name()}`);
}

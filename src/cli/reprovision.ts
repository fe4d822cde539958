/** `lvp reprovision VM DISK`: have a published volume made again, after saying what is lost by it. */
import type { Command } from 'commander';
import { ProvisionError } from '../core/errors.ts';
import type { DomainStatus, ReprovisionResult } from '../core/protocol/control-protocol.ts';
import { approximateSize } from '../core/size.ts';
import type { ExitCode } from './program/exit-codes.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb, Context } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';
import { terminal } from './terminal/terminal.ts';
import { watchedDomain } from './terminal/watched.ts';
import { watch } from './watch.ts';

interface ReprovisionOptions {
  readonly confirm?: string;
  readonly wait?: boolean;
}

export const addReprovision: AddVerb = (program, finish) => {
  const command = program
    .command('reprovision')
    .argument('<vm>', 'name or UUID of the domain, which must be shut off')
    .argument('<disk>', "the disk's target, such as vda")
    .option('--confirm <vm/disk>', "without asking: the domain's name and the disk, such as web1/vda")
    .option('--wait', 'stay until it is done, and show progress; 1 if the old content had to be put back')
    .description('make a published volume again; what it holds is lost');
  common(command, [
    'lvp reprovision web1 vda',
    'lvp reprovision web1 vda --confirm web1/vda --wait && virsh start web1',
  ]).action(async (vm: string, disk: string, options: ReprovisionOptions, self: Command) => {
    const context = contextOf(self, finish);
    const { daemon, output } = context;
    const confirm = options.confirm ?? (await ask(context, vm, disk));
    const begun = await daemon.reprovision(vm, { target: disk, confirm });
    if (options.wait !== true) {
      output.result(
        begun,
        () => `${begun.volume} is being made again. See: lvp status ${begun.name} --watch`,
      );
      finish(EXIT.ok);
      return;
    }
    const domain = await watch(output, watchedDomain(daemon, begun.uuid));
    finish(exitCodeOf(domain, disk));
  });
};

/** Ready with a problem is what was there before. */
function exitCodeOf({ volumes }: DomainStatus, disk: string): ExitCode {
  const volume = volumes.find(({ target }) => target === disk);
  return volume?.state === 'ready' && volume.problem === undefined ? EXIT.ok : EXIT.failed;
}

/** What stands in the way is said before anybody is asked. */
async function ask({ daemon, output }: Context, vm: string, disk: string): Promise<string> {
  const asker = terminal();
  if (asker === undefined) {
    throw new ProvisionError({
      code: 'USAGE',
      message: 'There is no terminal to ask on whether the content of the volume may be lost.',
      hint: `For scripts: lvp reprovision ${vm} ${disk} --confirm VM/DISK, with the domain's name and the disk.`,
    });
  }
  const preview = await daemon.reprovision(vm, { target: disk, dryRun: true });
  output.note(lossText(preview));
  // Without an answer (end of input) it is no.
  const typed = (await asker.text("Type the domain's name to go on:")) ?? '';
  if (typed.trim() === preview.name) return preview.confirm;
  throw new ProvisionError({
    code: 'USAGE',
    message: `That is not the name of the domain, ${preview.name}. Nothing was done.`,
  });
}

function lossText({ name, target, volume, sizeBytes, holds, wanted }: ReprovisionResult): string {
  return [
    `All that disk ${target} of ${name} holds will be lost:`,
    `  volume  ${volume}, ${approximateSize(sizeBytes)}`,
    `  filled  from ${holds.image}, generation ${holds.generation}, sha256 ${holds.sha256}`,
    `  now     from ${wanted.image}, generation ${wanted.generation}`,
  ].join('\n');
}

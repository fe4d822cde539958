/** `lvp incident crypto-erase`: destroy what opens an encrypted volume, after saying what is lost by it. */
import type { Command } from 'commander';
import { ProvisionError } from '../../core/errors.ts';
import type { CryptoEraseRequest, CryptoEraseResult } from '../../core/protocol/key-protocol.ts';
import { approximateSize } from '../../core/size.ts';
import { EXIT } from '../program/exit-codes.ts';
import type { AddVerb, Context } from '../program/verb.ts';
import { common, contextOf } from '../program/verb.ts';
import { terminal } from '../terminal/terminal.ts';

interface EraseOptions {
  readonly confirm?: string;
  readonly dryRun?: boolean;
}

export const addCryptoErase: AddVerb = (incident, finish) => {
  const command = incident
    .command('crypto-erase')
    .argument('<vm>', 'name or UUID of a domain; or a volume, as VG/LV')
    .argument('[disk]', "the disk's target, such as vda; not for a volume")
    .option('--confirm <vg/lv>', 'without asking: the volume, such as vg0/web1-root')
    .option('--dry-run', 'only say what would be lost')
    .description('make an encrypted volume unreadable for ever, whoever has which key');
  common(
    command,
    ['lvp incident crypto-erase web1 vda', 'lvp incident crypto-erase vg0/web1-root --confirm vg0/web1-root'],
    'host',
  ).action(async (vm: string, disk: string | undefined, options: EraseOptions, self: Command) => {
    const context = contextOf(self, finish);
    const { daemon, output } = context;
    const what = whatOf(vm, disk);
    const result = await daemon.cryptoErase(
      options.dryRun === true
        ? { ...what, dryRun: true }
        : { ...what, confirm: options.confirm ?? (await ask(context, what)) },
    );
    output.result(result, () =>
      result.applied
        ? `${result.volume} is unreadable for ever, and no guest starts on it any more. Copies of its header, if anybody made some, still open it: revoke its key (lvp key revoke), and delete the volume when it is not needed as evidence.`
        : `${lossText(result)}\nNothing was changed.`,
    );
    finish(EXIT.ok);
  });
};

function whatOf(vm: string, disk: string | undefined): CryptoEraseRequest {
  if (disk !== undefined) return { domain: vm, target: disk };
  if (vm.includes('/')) return { volume: vm };
  throw new ProvisionError({
    code: 'USAGE',
    message: `Which disk of ${vm} is meant has to be said.`,
    hint: 'lvp incident crypto-erase VM DISK, or VG/LV',
  });
}

/** What stands in the way is said before anybody is asked. */
async function ask({ daemon, output }: Context, what: CryptoEraseRequest): Promise<string> {
  const asker = terminal();
  if (asker === undefined) {
    throw new ProvisionError({
      code: 'USAGE',
      message: 'There is no terminal to ask on whether what the volume holds may be lost for ever.',
      hint: 'For scripts: --confirm VG/LV, with the name of the volume.',
    });
  }
  const preview = await daemon.cryptoErase({ ...what, dryRun: true });
  output.note(lossText(preview));
  // Without an answer (end of input) it is no.
  const typed = (await asker.text('There is no way back. Type the name of the volume to go on:')) ?? '';
  if (typed.trim() === preview.volume) return preview.volume;
  throw new ProvisionError({
    code: 'USAGE',
    message: `That is not the name of the volume, ${preview.volume}. Nothing was done.`,
  });
}

function lossText({ volume, sizeBytes, holds, domain, name }: CryptoEraseResult): string {
  return [
    `All that ${volume} holds will be lost, for everybody and for ever:`,
    `  of      domain ${name === undefined ? domain : `${name} (${domain})`}`,
    `  volume  ${volume}, ${approximateSize(sizeBytes)}`,
    `  filled  from ${holds.image}, generation ${holds.generation}, sha256 ${holds.sha256}`,
  ].join('\n');
}

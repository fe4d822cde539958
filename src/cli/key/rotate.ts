/** `lvp key rotate`: another key in place of the one that a volume has. The daemon does it; here no key is seen. */
import type { Command } from 'commander';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import type { RotateKeyResult } from '../../core/protocol/key-protocol.ts';
import { EXIT } from '../program/exit-codes.ts';
import type { AddVerb } from '../program/verb.ts';
import { common, contextOf } from '../program/verb.ts';
import { referenceOf } from './given-key.ts';

interface RotateOptions {
  readonly to: string;
  readonly dryRun?: boolean;
}

export const addRotateKey: AddVerb = (key, finish) => {
  const command = key
    .command('rotate')
    .argument('<vm>', 'name or UUID of the domain, which must be shut off')
    .argument('<disk>', "the disk's target, such as vda")
    .requiredOption('--to <key>', 'the key that its volume is to have: barbican:UUID or file:NAME')
    .option('--dry-run', 'only try both keys on the volume, and change nothing')
    .description('replace the key of an encrypted volume; can be repeated after whatever cut it off');
  common(
    command,
    [
      'lvp key rotate web1 vda --to barbican:0b6f0a3e-8f0c-4f7e-9d43-3b1b7b1d2c11 --dry-run',
      'lvp key rotate web1 vda --to file:web1-vda-2',
    ],
    'host',
  ).action(async (vm: string, disk: string, { to, dryRun }: RotateOptions, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    const asked = { domain: vm, target: disk, to: formatKeyReference(referenceOf(to)) };
    const result = await daemon.rotateKey({ ...asked, ...(dryRun === true && { dryRun }) });
    output.result(result, () => textOf(result));
    finish(EXIT.ok);
  });
};

function textOf({ name, target, volume, from, to, applied, next }: RotateKeyResult): string {
  const before = from === undefined ? '' : ` in place of ${from}`;
  if (!applied) {
    return `Disk ${target} of ${name} (${volume}) would get the key ${to}${before}. Nothing was changed.`;
  }
  return [
    `Disk ${target} of ${name} (${volume}) has the key ${to}${before}; no other opens it.`,
    ...next.map((command) => `Left to do, where the old key is kept: ${command}`),
  ].join('\n');
}

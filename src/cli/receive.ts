/** `lvp receive [FILE]`: set volumes aside for a domain that is to be migrated here with its storage. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { ProvisionError } from '../core/errors.ts';
import { Handover } from '../core/handover.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';

export const addReceive: AddVerb = (program, finish) => {
  const command = program
    .command('receive')
    .argument('[file]', 'what lvp handover printed on the other host; standard input unless given')
    .description('set volumes aside for a domain that is to be migrated here with its storage');
  common(
    command,
    [
      'ssh host1 lvp handover web1 | lvp receive',
      'lvp receive web1.json && ssh host1 virsh migrate --live --persistent --copy-storage-all web1 qemu+ssh://host2/system',
    ],
    'host',
  ).action(async (file: string | undefined, _options: object, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    const result = await daemon.receive(read(file));
    output.result(result, () =>
      [
        ...result.volumes.map(
          ({ target, pool, volume, made }) =>
            `${target}: ${pool}/${volume} ${made === 'created' ? 'is set aside' : 'was set aside already'}`,
        ),
        `Migrate ${result.name} here before ${result.until}.`,
      ].join('\n'),
    );
    finish(EXIT.ok);
  });
};

function read(file: string | undefined): Handover {
  const from = file ?? 'standard input';
  try {
    return Handover.parse(JSON.parse(readFileSync(file ?? 0, 'utf8')));
  } catch (cause) {
    throw new ProvisionError({
      code: 'USAGE',
      message: `What stands in ${from} is not what lvp handover prints.`,
      hint: 'lvp handover VM, on the host that has the domain, prints it; both hosts need the same version.',
      cause,
    });
  }
}

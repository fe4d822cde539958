/** `lvp annotate [VM [DISK [IMAGE]]]`: write the request into the domain's metadata; what is not said is asked for. */
import type { Command } from 'commander';
import { Option } from 'commander';
import { AnnotateRequest } from '../core/protocol/control-protocol.ts';
import type { ImageFormat, OuterCompression, VolumeFate } from '../core/request.ts';
import type { What } from './annotate/what.ts';
import { answered, askFormat, askKey, askWhat } from './annotate/what.ts';
import { kindOf, saysFormat, withImageOptions } from './image/image-kind.ts';
import { checkedRequest, describedBy } from './program/checked-request.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb, Context } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';
import type { Asker } from './terminal/terminal.ts';
import { terminal } from './terminal/terminal.ts';

const FATES: readonly VolumeFate[] = ['keep', 'delete'];

interface AnnotateOptions {
  readonly format?: ImageFormat;
  readonly compression?: OuterCompression;
  readonly sha256?: string;
  readonly sha512?: string;
  readonly imageVersion?: string;
  readonly size?: string;
  readonly generation?: string;
  readonly key?: string;
  readonly onUndefine?: VolumeFate;
  readonly afterMigration?: VolumeFate;
  readonly start?: 'manual' | 'when-ready';
  readonly dryRun?: boolean;
}

export const addAnnotate: AddVerb = (program, finish) => {
  const asked = program
    .command('annotate')
    .argument('[vm]', 'name or UUID of the domain')
    .argument('[disk]', "the disk's target, such as vda")
    .argument('[image]', 'the image, as BUCKET/KEY');
  const command = withImageOptions(asked)
    .option('--generation <number>', 'count it up to have the content made again')
    .option('--key <key>', 'of an encrypted disk: barbican:UUID or file:NAME (see lvp key)')
    .addOption(
      new Option('--start <when>', 'when-ready: start the domain once its volumes are ready').choices([
        'manual',
        'when-ready',
      ]),
    )
    .option('--dry-run', 'only show the XML')
    .description('ask for an image on a disk of a domain; on a terminal, what is left out is asked for');
  common(withFates(command), [
    'lvp annotate',
    'lvp annotate web1 vda images/debian-13.qcow2',
    'lvp annotate web1 vda images/debian-13.qcow2 --size 40GiB --start when-ready',
    'lvp annotate db1 vda images/debian-13.qcow2 --key file:db1-vda',
    'lvp annotate ci-runner vda images/runner.qcow2 --on-undefine delete',
    'lvp annotate web1 vdb images/data --format raw --compression zstd --dry-run',
  ]).action(async (vm: Told, disk: Told, image: Told, options: AnnotateOptions, self: Command) => {
    const context = contextOf(self, finish);
    const { daemon, output } = context;
    const isTold = image !== undefined;
    const asker = isTold || output.json ? undefined : terminal();
    const note = (text: string) => {
      output.note(text);
    };
    const what = await askWhat({ vm, disk, image }, { daemon, asker, note });
    const key = options.key ?? (await askKey(what, { daemon, asker }));
    const request = await requestOf(context, what, { ...options, ...(key && { key }) }, asker);
    if (asker !== undefined && options.dryRun !== true) await confirmed(context, what.vm, request, asker);
    const result = await daemon.annotate(what.vm, request);
    output.result(result, () => result.xml);
    if (!output.json) {
      note(
        result.applied ? `Written to ${what.vm}. See: lvp status ${what.vm} --watch` : 'Nothing was written.',
      );
    }
    finish(EXIT.ok);
  });
};

type Told = string | undefined;

/** Shown as it would be written; whoever has said all of it beforehand is not asked. */
async function confirmed(
  { daemon, output }: Context,
  vm: string,
  request: AnnotateRequest,
  asker: Asker,
): Promise<void> {
  const { xml } = await daemon.annotate(vm, { ...request, dryRun: true });
  output.note(xml);
  answered((await asker.confirm(`Write this into the metadata of ${vm}?`)) === true ? true : undefined);
}

function withFates(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--on-undefine <fate>',
        'of the volume when the domain is undefined (default: keep)',
      ).choices(FATES),
    )
    .addOption(
      new Option(
        '--after-migration <fate>',
        'of the volume here when the guest has moved away (default: keep)',
      ).choices(FATES),
    );
}

async function requestOf(
  { output }: Context,
  { disk: target, image }: What,
  options: AnnotateOptions,
  asker: Asker | undefined,
): Promise<AnnotateRequest> {
  const isAsked = asker !== undefined && options.format === undefined && !saysFormat(image);
  const stated = isAsked ? { ...options, format: await askFormat(asker) } : options;
  const { format, compression, guessed } = kindOf(image, stated);
  if (guessed !== undefined && !output.json) output.note(guessed);
  const request = {
    ...{ target, image, ...describedBy({ ...options, format, compression }) },
    size: options.size,
    generation: options.generation === undefined ? undefined : Number(options.generation),
    key: options.key,
    onUndefine: options.onUndefine,
    afterMigration: options.afterMigration,
    start: options.start,
    dryRun: options.dryRun,
  };
  return checkedRequest(AnnotateRequest, request, 'annotate');
}

/** `lvp annotate VM DISK IMAGE`: write the request into the domain's metadata. */
import type { Command } from 'commander';
import { Option } from 'commander';
import { AnnotateRequest } from '../core/control-protocol.ts';
import type { ImageFormat, OuterCompression, VolumeFate } from '../core/request.ts';
import { checkedRequest, describedBy } from './checked-request.ts';
import { EXIT } from './exit-codes.ts';
import { kindOf, withImageOptions } from './image-kind.ts';
import type { AddVerb } from './verb.ts';
import { common, contextOf } from './verb.ts';

const FATES: readonly VolumeFate[] = ['keep', 'delete'];

interface AnnotateOptions {
  readonly format?: ImageFormat;
  readonly compression?: OuterCompression;
  readonly sha256?: string;
  readonly sha512?: string;
  readonly imageVersion?: string;
  readonly size?: string;
  readonly generation?: string;
  readonly onUndefine?: VolumeFate;
  readonly afterMigration?: VolumeFate;
  readonly start?: 'manual' | 'when-ready';
  readonly dryRun?: boolean;
}

export const addAnnotate: AddVerb = (program, finish) => {
  const asked = program
    .command('annotate')
    .argument('<vm>', 'name or UUID of the domain')
    .argument('<disk>', "the disk's target, such as vda")
    .argument('<image>', 'the image, as BUCKET/KEY');
  const command = withImageOptions(asked)
    .option('--generation <number>', 'count it up to have the content made again')
    .addOption(
      new Option('--start <when>', 'when-ready: start the domain once its volumes are ready').choices([
        'manual',
        'when-ready',
      ]),
    )
    .option('--dry-run', 'only show the XML')
    .description('ask for an image on a disk of a domain');
  common(withFates(command), [
    'lvp annotate web1 vda images/debian-13.qcow2',
    'lvp annotate web1 vda images/debian-13.qcow2 --size 40GiB --start when-ready',
    'lvp annotate ci-runner vda images/runner.qcow2 --on-undefine delete',
    'lvp annotate web1 vdb images/data --format raw --compression zstd --dry-run',
  ]).action(async (vm: string, disk: string, image: string, options: AnnotateOptions, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    const { format, compression, guessed } = kindOf(image, options);
    if (guessed !== undefined && !output.json) output.note(guessed);
    const result = await daemon.annotate(vm, requestOf(disk, image, { ...options, format, compression }));
    output.result(result, () => result.xml);
    if (!output.json) {
      output.note(
        result.applied ? `Written to ${vm}. See: lvp status ${vm} --watch` : 'Nothing was written.',
      );
    }
    finish(EXIT.ok);
  });
};

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

type Stated = Omit<AnnotateOptions, 'format' | 'compression'> & {
  readonly format: ImageFormat;
  readonly compression: OuterCompression | undefined;
};

function requestOf(target: string, image: string, options: Stated): AnnotateRequest {
  const request = {
    ...{ target, image, ...describedBy(options) },
    size: options.size,
    generation: options.generation === undefined ? undefined : Number(options.generation),
    onUndefine: options.onUndefine,
    afterMigration: options.afterMigration,
    start: options.start,
    dryRun: options.dryRun,
  };
  return checkedRequest(AnnotateRequest, request, 'annotate');
}

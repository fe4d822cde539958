/** `lvp image prefetch`: having images on this host before they are needed. */
import type { Command } from 'commander';
import { Option } from 'commander';
import { PrefetchRequest } from '../../core/protocol/image-protocol.ts';
import type { ImageFormat, OuterCompression } from '../../core/request.ts';
import { checkedRequest, describedBy } from '../program/checked-request.ts';
import { EXIT } from '../program/exit-codes.ts';
import type { AddVerb } from '../program/verb.ts';
import { common, contextOf } from '../program/verb.ts';
import { Progress } from '../terminal/progress.ts';
import { readText } from './image-asked.ts';
import { kindOf } from './image-kind.ts';

interface Options {
  readonly format?: ImageFormat;
  readonly compression?: OuterCompression;
  readonly to?: readonly string[];
  readonly sha256?: string;
  readonly sha512?: string;
  readonly imageVersion?: string;
}

export const addImagePrefetch: AddVerb = (image, finish) => {
  const command = image
    .command('prefetch')
    .argument('<image...>', 'images, as BUCKET/KEY')
    .addOption(
      new Option(
        '--format <format>',
        'format of the images; without it, what .qcow2, .raw or .img at the end says',
      ).choices(['qcow2', 'raw']),
    )
    .addOption(
      new Option(
        '--compression <name>',
        'what each whole object is compressed with; without it, what .gz, .zst or .xz at the end says',
      ).choices(['gzip', 'zstd', 'xz']),
    )
    .option('--sha256 <digest>', 'digest of the object; without one, that beside it, such as KEY.sha256')
    .option('--sha512 <digest>', 'another digest of the object')
    .option('--image-version <id>', 'S3 version id of the image; without it, the newest')
    .option('--to <place...>', 'cache, or volume groups in whose thin pool it is to be a golden volume', [
      'cache',
    ])
    .description('have images on this host before they are needed; one after the other, until one fails');
  common(command, [
    'lvp image prefetch images/debian-13.qcow2',
    'lvp image prefetch images/a.img images/b.img --format raw',
    'lvp image prefetch images/data.raw.zst --json',
  ]).action(async (names: string[], options: Options, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    for (const name of names) {
      const { format, compression, guessed } = kindOf(name, options);
      if (guessed !== undefined && !output.json) output.note(`${name}: ${guessed}`);
      const described = describedBy({
        ...options,
        format,
        ...(compression === undefined ? {} : { compression }),
      });
      const to = options.to ?? ['cache'];
      const request = checkedRequest(PrefetchRequest, { image: name, ...described, to }, 'image');
      const progress = await Progress.open(output);
      const read = await daemon.readImage('prefetch', request, progress.show).finally(progress.end);
      output.result(read, () => readText(read));
    }
    finish(EXIT.ok);
  });
};

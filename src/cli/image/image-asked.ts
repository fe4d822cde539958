/** One image that a verb of `lvp image` is called for, and what is said of it when it was read. */
import type { Command } from 'commander';
import { Option } from 'commander';
import type { ReadImage } from '../../core/protocol/image-protocol.ts';
import { ImageRequest } from '../../core/protocol/image-protocol.ts';
import type { ImageOptions } from '../program/checked-request.ts';
import { checkedRequest, describedBy } from '../program/checked-request.ts';

/** What every verb about one image takes. The format is stated, as in annotations, and never guessed. */
export function ofImage(command: Command): Command {
  return command
    .argument('<image>', 'the image, as BUCKET/KEY')
    .addOption(
      new Option('--format <format>', 'format of the image').choices(['qcow2', 'raw']).makeOptionMandatory(),
    )
    .addOption(
      new Option('--compression <name>', 'what the whole object is compressed with').choices([
        'gzip',
        'zstd',
        'xz',
      ]),
    )
    .option('--sha256 <digest>', 'digest of the object; without one, that beside it, such as KEY.sha256')
    .option('--sha512 <digest>', 'another digest of the object')
    .option('--image-version <id>', 'S3 version id of the image; without it, the newest');
}

export function requestOf(image: string, options: ImageOptions): ImageRequest {
  return checkedRequest(ImageRequest, { image, ...describedBy(options) }, 'image');
}

export function readText({ image, sizeBytes, sha256, proven, from, cached }: ReadImage): string {
  const verdict = proven ? 'is what it should be' : 'was read; nothing says what its digest must be';
  const where = cached ? `\n  in the cache now${from === 'cache' ? ', as it was before' : ''}` : '';
  return `${image} ${verdict}.\n  sha256 ${sha256}\n  ${sizeBytes} bytes${where}`;
}

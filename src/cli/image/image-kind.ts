/** What kind of image is meant: as the options say, else as the end of its name does. */
import type { Command } from 'commander';
import { Option } from 'commander';
import { ProvisionError } from '../../core/errors.ts';
import type { ImageFormat, OuterCompression } from '../../core/request.ts';

export interface ImageKind {
  readonly format: ImageFormat;
  readonly compression: OuterCompression | undefined;
  /** What was taken from the name, as a sentence for people. */
  readonly guessed: string | undefined;
}

/** USAGE where neither says the format. */
export function kindOf(
  image: string,
  stated: { readonly format?: ImageFormat; readonly compression?: OuterCompression },
): ImageKind {
  const compression = stated.compression ?? compressionByEnding(image);
  const format = stated.format ?? formatByEnding(image);
  const guessed = [
    ...(stated.format === undefined ? [`format ${format}`] : []),
    ...(stated.compression === undefined && compression !== undefined ? [`compression ${compression}`] : []),
  ].join(', ');
  const sentence = `${guessed[0]?.toUpperCase() ?? ''}${guessed.slice(1)}, by the end of the image's name.`;
  return { format, compression, guessed: guessed === '' ? undefined : sentence };
}

/** Whether the end of the name says it. */
export function saysFormat(image: string): boolean {
  return formatIn(image) !== undefined;
}

function formatIn(image: string): ImageFormat | undefined {
  const name = image.replace(/\.(?:gz|zst|xz)$/i, '');
  if (/\.qcow2$/i.test(name)) return 'qcow2';
  return /\.(?:raw|img)$/i.test(name) ? 'raw' : undefined;
}

function formatByEnding(image: string): ImageFormat {
  const format = formatIn(image);
  if (format !== undefined) return format;
  throw new ProvisionError({
    code: 'USAGE',
    message: `The name of the image ${image} does not say its format.`,
    hint: 'Add --format qcow2 or --format raw. Formats are never guessed from the content.',
  });
}

function compressionByEnding(image: string): OuterCompression | undefined {
  if (/\.gz$/i.test(image)) return 'gzip';
  if (/\.zst$/i.test(image)) return 'zstd';
  return /\.xz$/i.test(image) ? 'xz' : undefined;
}

/** The options that say which image, and how large its volume is to be. */
export function withImageOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--format <format>',
        'format of the image; without it, what .qcow2, .raw or .img at the end says',
      ).choices(['qcow2', 'raw']),
    )
    .addOption(
      new Option(
        '--compression <name>',
        'what the whole object is compressed with; without it, what .gz, .zst or .xz at the end says',
      ).choices(['gzip', 'zstd', 'xz']),
    )
    .option('--sha256 <digest>', 'digest of the object; without one, that beside it, such as KEY.sha256')
    .option('--sha512 <digest>', 'another digest of the object')
    .option('--image-version <id>', 'S3 version id of the image; without it, the newest')
    .option('--size <size>', 'size of the volume if larger than the image, such as 20GiB');
}

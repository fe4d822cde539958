/** `lvp image`: images in the store and in this host's cache. */
import type { Command } from 'commander';
import { ImageRequest } from '../core/image-protocol.ts';
import { Option } from 'commander';
import type { CachedImages, ImageFacts, ReadImage, StoredImages } from '../core/image-protocol.ts';
import type { ImageOptions } from './checked-request.ts';
import { checkedRequest, describedBy } from './checked-request.ts';
import { EXIT } from './exit-codes.ts';
import { approximateSize } from '../core/size.ts';
import type { Look } from './output.ts';
import { table } from './table.ts';
import { addImageWrite } from './image-write.ts';
import { Progress } from './progress.ts';
import type { AddVerb } from './verb.ts';
import { common, contextOf } from './verb.ts';

export const addImage: AddVerb = (program, finish) => {
  const image = program.command('image').description('images: what they are, and having them on this host');
  addLs(image, finish);
  addInspect(image, finish);
  addRead(image, finish, 'verify', 'read all of an image from the store and compare its digest');
  addRead(image, finish, 'prefetch', 'put an image into the cache of this host, before it is needed');
  addGc(image, finish);
  addImageWrite(image, finish);
};

const addLs: AddVerb = (image, finish) => {
  const command = image
    .command('ls')
    .option('--stored', 'what is in the buckets of the store instead')
    .description('show what is in the cache of the host, or in the store');
  common(command, [
    'lvp image ls',
    'lvp image ls --stored',
    "lvp image ls --json | jq '[.images[].sizeBytes] | add'",
  ]).action(async (options: { stored?: boolean }, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    if (options.stored === true) {
      const stored = await daemon.storedImages();
      output.result(stored, () => storedText(stored, output.look));
      finish(EXIT.ok);
      return;
    }
    const cached = await daemon.images();
    output.result(cached, () => cachedText(cached, output.look));
    finish(EXIT.ok);
  });
};

const addInspect: AddVerb = (image, finish) => {
  const command = image
    .command('inspect')
    .description('show size, digest and format of an image; reads its metadata only');
  common(ofImage(command), ['lvp image inspect images/debian-13.qcow2 --format qcow2']).action(
    async (name: string, options: ImageOptions, self: Command) => {
      const { daemon, output } = contextOf(self, finish);
      const facts = await daemon.inspectImage(requestOf(name, options));
      output.result(facts, () => factsText(facts));
      finish(EXIT.ok);
    },
  );
};

function addRead(
  image: Command,
  finish: Parameters<AddVerb>[1],
  verb: 'verify' | 'prefetch',
  description: string,
): void {
  const command = image.command(verb).description(description);
  common(ofImage(command), [
    `lvp image ${verb} images/debian-13.qcow2 --format qcow2`,
    `lvp image ${verb} images/data.raw.zst --format raw --compression zstd --json`,
  ]).action(async (name: string, options: ImageOptions, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    const request = requestOf(name, options);
    const progress = await Progress.open(output);
    const read = await daemon.readImage(verb, request, progress.show).finally(progress.end);
    output.result(read, () => readText(read));
    finish(EXIT.ok);
  });
}

const addGc: AddVerb = (image, finish) => {
  const command = image
    .command('gc')
    .option('--all', 'all that no fill uses just now, not only what is beyond cache.size_max')
    .description('remove images from the cache of this host');
  common(command, ['lvp image gc', 'lvp image gc --all']).action(
    async (options: { all?: boolean }, self: Command) => {
      const { daemon, output } = contextOf(self, finish);
      const result = await daemon.collectImages(options.all ?? false);
      output.result(result, () => {
        const freedBytes = result.evicted.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
        return `Removed ${result.evicted.length}, ${approximateSize(freedBytes)}.`;
      });
      finish(EXIT.ok);
    },
  );
};

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

function cachedText({ images, sizeMaxBytes }: CachedImages, { width }: Look): string {
  const usedBytes = images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const limit =
    sizeMaxBytes === 0 ? 'The cache is off (cache.size_max)' : `At most ${approximateSize(sizeMaxBytes)}`;
  const rows = images.map(({ image, sizeBytes, usedAt, inUse, sha256 }) => [
    ...[
      image,
      approximateSize(sizeBytes),
      inUse ? 'now' : usedAt.slice(0, 16).replace('T', ' '),
      sha256.slice(0, 16),
    ],
  ]);
  const list =
    rows.length === 0 ? [] : [table([['IMAGE', 'SIZE', 'LAST USE', 'SHA256'], ...rows], { width })];
  return [...list, `${limit}, in use ${approximateSize(usedBytes)}.`].join('\n');
}

function storedText({ images, more }: StoredImages, { width }: Look): string {
  const rows = images.map(({ image, sizeBytes, modifiedAt }) => [
    ...[image, approximateSize(sizeBytes), modifiedAt?.slice(0, 16).replace('T', ' ') ?? ''],
  ]);
  return [
    ...(rows.length === 0 ? [] : [table([['IMAGE', 'SIZE', 'UPLOADED'], ...rows], { width })]),
    ...(more
      ? ['There is more in the store than is shown.']
      : rows.length === 0
        ? ['There is no image.']
        : []),
  ].join('\n');
}

function factsText(facts: ImageFacts): string {
  const { image, format, sizeBytes, virtualSizeBytes, dataBytes, etag, version, sha256, proofs } = facts;
  return [
    `${image} (${format})`,
    `  object       ${approximateSize(sizeBytes)} (${sizeBytes} bytes)`,
    `  disk         ${approximateSize(virtualSizeBytes)} (${virtualSizeBytes} bytes), ${approximateSize(dataBytes)} of it data`,
    `  etag         ${etag}`,
    ...(version === undefined ? [] : [`  version      ${version}`]),
    `  sha256       ${sha256 ?? 'not known'}`,
    `  proven by    ${proofs.length === 0 ? 'nothing' : proofs.join(', ')}`,
    `  in cache     ${facts.cached ? 'yes' : 'no'}`,
  ].join('\n');
}

function readText({ image, sizeBytes, sha256, proven, from, cached }: ReadImage): string {
  const verdict = proven ? 'is what it should be' : 'was read; nothing says what its digest must be';
  const where = cached ? `\n  in the cache now${from === 'cache' ? ', as it was before' : ''}` : '';
  return `${image} ${verdict}.\n  sha256 ${sha256}\n  ${sizeBytes} bytes${where}`;
}

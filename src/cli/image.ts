/** `lvp image`: images in the store and in this host's cache. */
import type { Command } from 'commander';
import type { CachedImages, ImageFacts, StoredImages } from '../core/protocol/image-protocol.ts';
import type { ImageOptions } from './program/checked-request.ts';
import { EXIT } from './program/exit-codes.ts';
import { approximateSize } from '../core/size.ts';
import { ofImage, readText, requestOf } from './image/image-asked.ts';
import { imagesText } from './image/image-list.ts';
import { addImagePrefetch } from './image/image-prefetch.ts';
import type { Look } from './terminal/output.ts';
import { table } from './terminal/table.ts';
import { addImageWrite } from './image/image-write.ts';
import { Progress } from './terminal/progress.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';

export const addImage: AddVerb = (program, finish) => {
  const image = program.command('image').description('images: what they are, and having them on this host');
  addLs(image, finish);
  addInspect(image, finish);
  addVerify(image, finish);
  addImagePrefetch(image, finish);
  addRm(image, finish);
  addGc(image, finish);
  addImageWrite(image, finish);
};

const addLs: AddVerb = (image, finish) => {
  const command = image
    .command('ls')
    .option('--stored', 'what is in the buckets of the store instead')
    .description('show the images on this host, why each is kept, and how far prefetching is');
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
    output.result(cached, () => imagesText(cached, output.look));
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

const addVerify: AddVerb = (image, finish) => {
  const command = image
    .command('verify')
    .description('read all of an image from the store and compare its digest');
  common(ofImage(command), [
    'lvp image verify images/debian-13.qcow2 --format qcow2',
    'lvp image verify images/data.raw.zst --format raw --compression zstd --json',
  ]).action(async (name: string, options: ImageOptions, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    const request = requestOf(name, options);
    const progress = await Progress.open(output);
    const read = await daemon.readImage('verify', request, progress.show).finally(progress.end);
    output.result(read, () => readText(read));
    finish(EXIT.ok);
  });
};

const addRm: AddVerb = (image, finish) => {
  const command = image
    .command('rm')
    .argument('<image...>', 'images as BUCKET/KEY, or as at least 8 digits of their SHA-256')
    .description('remove images from this host; never one in use, and never one the configuration pins');
  common(command, ['lvp image rm images/debian-12.qcow2', 'lvp image rm 0b1c2d3e --json']).action(
    async (images: string[], _options: object, self: Command) => {
      const { daemon, output } = contextOf(self, finish);
      const result = await daemon.removeImages(images);
      output.result(result, () => removedText(result.removed, result.removedGolden));
      finish(EXIT.ok);
    },
  );
};

const addGc: AddVerb = (image, finish) => {
  const command = image
    .command('gc')
    .option('--all', 'all that is neither in use nor pinned, not only what is beyond the budgets')
    .description('remove images from this host that are beyond cache.size_max and pools.VG.golden_max');
  common(command, ['lvp image gc', 'lvp image gc --all']).action(
    async (options: { all?: boolean }, self: Command) => {
      const { daemon, output } = contextOf(self, finish);
      const result = await daemon.collectImages(options.all ?? false);
      output.result(result, () => removedText(result.evicted, result.evictedGolden));
      finish(EXIT.ok);
    },
  );
};

function removedText(removed: CachedImages['images'], golden: CachedImages['golden']): string {
  const freedBytes = removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const goldens = golden.map(({ volume }) => volume).join(', ');
  return `Removed ${removed.length}, ${approximateSize(freedBytes)}${goldens === '' ? '' : `; golden: ${goldens}`}.`;
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

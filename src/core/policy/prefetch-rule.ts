/**
 * Which images are to be on this host before anybody asks for them: rules of the configuration, in their order,
 * of which the first that an image's name fits counts for it.
 */
import { sidecarsOf } from '../images/digest.ts';
import type { ImageFormat, OuterCompression } from '../request.ts';
import { VolumeAttributes } from '../volume/volume-attributes.ts';
import { signatureKey } from './minisign.ts';
import { fitsPattern } from './name-pattern.ts';

export interface PrefetchRule {
  /** `BUCKET/PATTERN` (name-pattern.ts; `*` stands for slashes, too). The bucket is a name. */
  readonly images: string;
  /** Stated, as in annotations; an object that is of another is refused when it is read. */
  readonly format: ImageFormat;
  readonly compression?: OuterCompression | undefined;
  readonly toCache: boolean;
  /** Volume groups in whose thin pools it is to be a golden volume. */
  readonly toGroups: readonly string[];
  /** What it brought stays as long as the rule chooses it; else it goes like all others, the least recently used first. */
  readonly pin: boolean;
  /** Of all that fit, so many of the newest … */
  readonly countMax: number;
  /** … and of their objects together at most so much. */
  readonly sizeMaxBytes: number;
}

/** An object as the list of its bucket has it. */
export interface ListedObject {
  readonly key: string;
  readonly sizeBytes: number;
  readonly etag: string;
  readonly modifiedAtMs: number;
}

/** An image that is to be here. */
export interface ChosenImage {
  /** `BUCKET/KEY`. */
  readonly name: string;
  readonly rule: PrefetchRule;
  readonly sizeBytes: number;
  /** Changes whenever the object, or what proves it and stands beside it, is another one. */
  readonly state: string;
}

export interface Choice {
  readonly chosen: readonly ChosenImage[];
  /** Those that fit, and for which the limits of the rule, or of the cache, have no room. */
  readonly beyond: number;
}

export function bucketOf({ images }: Pick<PrefetchRule, 'images'>): string {
  return images.slice(0, images.indexOf('/'));
}

/** What the key of every image that fits begins with. */
export function keyPrefixOf({ images }: Pick<PrefetchRule, 'images'>): string {
  return images.slice(images.indexOf('/') + 1).replace(/[*?].*$/su, '');
}

/** The rule that counts for this image. */
export function prefetchRuleFor(rules: readonly PrefetchRule[], name: string): PrefetchRule | undefined {
  return rules.find(({ images }) => fitsPattern(name, images));
}

/**
 * What a rule wants of the objects in its bucket, the newest first; `roomBytes` is what the cache has left for it.
 * What proves images is none, and neither is an object whose name no annotation could say.
 */
export function chooseImages(
  rules: readonly PrefetchRule[],
  rule: PrefetchRule,
  listed: readonly ListedObject[],
  roomBytes: number,
): Choice {
  const bucket = bucketOf(rule);
  const etags = new Map(listed.map(({ key, etag }) => [key, etag]));
  const fitting = listed
    .filter(({ key }) => isImage(`${bucket}/${key}`) && prefetchRuleFor(rules, `${bucket}/${key}`) === rule)
    .sort((a, b) => b.modifiedAtMs - a.modifiedAtMs || (a.key < b.key ? -1 : 1));
  const chosen: ChosenImage[] = [];
  let leftBytes = Math.min(rule.sizeMaxBytes, roomBytes);
  for (const { key, sizeBytes, etag } of fitting) {
    if (chosen.length >= rule.countMax) break;
    // A smaller and older one still may fit.
    if (sizeBytes > leftBytes) continue;
    leftBytes -= sizeBytes;
    const beside = proofKeysOf(key).map((proof) => etags.get(proof) ?? '');
    chosen.push({
      name: `${bucket}/${key}`,
      ...{ rule, sizeBytes, state: JSON.stringify([etag, sizeBytes, ...beside]) },
    });
  }
  return { chosen, beyond: fitting.length - chosen.length };
}

function proofKeysOf(key: string): string[] {
  return [...sidecarsOf(key).map((sidecar) => sidecar.key), signatureKey(key)];
}

function isImage(name: string): boolean {
  return !/(?:\.sha256|\.sha512|\.minisig|\/SHA(?:256|512)SUMS)$/.test(name) && isName(name);
}

function isName(name: string): boolean {
  return VolumeAttributes.shape.image.safeParse(name).success;
}

/**
 * A logical volume as LVM reports it, and what its tags prove about its content. The tags are the truth:
 * they travel with the disks, and a ledger that was lost is rebuilt from them (docs/design.md).
 *
 * LVM allows letters, digits and `_ + . - / = ! : & #` in a tag, at most 1024 characters in new releases
 * and 128 in lvm(8)'s text; we stay below 128 and escape everything else.
 */
import { createHash } from 'node:crypto';
import { isJob } from './owner.ts';
import type { ImageReference, VolumeRequest } from './request.ts';
import { imageName } from './request.ts';

/** One row of `lvs`, of a volume group this host's configuration names. */
export interface LogicalVolume {
  readonly vg: string;
  readonly lv: string;
  /** `lv_uuid`, also libvirt's volume key. */
  readonly uuid: string;
  readonly sizeBytes: number;
  readonly tags: readonly string[];
  readonly active: boolean;
  /** Somebody has the device open: a guest, a mount, another dm device, us. */
  readonly open: boolean;
  /** `linear`, `striped`, `thin`, `snapshot`, …: only `linear` and `striped` are ours to adopt. */
  readonly segmentType: string;
}

/** Size and free space of one volume group. */
export interface VolumeGroup {
  readonly vg: string;
  readonly sizeBytes: number;
  readonly freeBytes: number;
  readonly extentBytes: number;
  /** Other hosts may use it too. Groups that lvmlockd guards are refused altogether; this says it of all others. */
  readonly shared: boolean;
}

/** Every private name begins so; the udev rule in systemd/ gives exactly these nodes to the service user. */
export const PRIVATE_PREFIX = 'lvp-fill-';

/** A fill's id: 16 lower-case hex digits, random, part of the private LV name and the correlation id in logs. */
export const FILL_ID_PATTERN = /^[0-9a-f]{16}$/;

/** The name of the LV while it is being filled. */
export function privateName(fillId: string): string {
  return `${PRIVATE_PREFIX}${fillId}`;
}

/** The fill id in a private LV name, or undefined for any other name. */
export function fillIdOf(lv: string): string | undefined {
  const id = lv.startsWith(PRIVATE_PREFIX) ? lv.slice(PRIVATE_PREFIX.length) : '';
  return FILL_ID_PATTERN.test(id) ? id : undefined;
}

/** Every published volume that was put aside to be made again has a name that begins so. */
export const RETIRED_PREFIX = 'lvp-old-';

/** The name of a published volume while it waits for the one that takes its place; `fillId` is that of its seal. */
export function retiredName(fillId: string): string {
  return `${RETIRED_PREFIX}${fillId}`;
}

/** What the tags of a volume under construction say. */
export interface FillMark {
  readonly state: 'filling';
  readonly fillId: string;
  /** The final LV name. */
  readonly target: string;
  readonly domainUuid: string;
}

/** What the tags of a finished volume say it holds. */
export interface Seal {
  readonly state: 'ready';
  readonly fillId: string;
  readonly target: string;
  /** Or the job that no domain has claimed it from yet (owner.ts). */
  readonly domainUuid: string;
  /** Escaped `BUCKET/KEY`, or its digest when too long: compare with imageTag(). */
  readonly image: string;
  /** Digest of the image object as stored, 64 lower-case hex digits. */
  readonly sha256: string;
  readonly generation: number;
  /** As what the image was read, see formatTag(): only in the seal of a job's volume, and always there. */
  readonly format?: string | undefined;
}

/** A volume that a domain may bring its bytes to by migration; it then carries this seal. */
export type ReceivingMark = Omit<Seal, 'state'> & { readonly state: 'receiving' };

/** No tag of ours at all: somebody else's volume, or a blank one a tool has just made. */
export interface Unmarked {
  readonly state: 'unmarked';
}

/** Some tags of ours, but not a set we ever write: touched by hand. Never used, never removed. */
export interface Unclear {
  readonly state: 'unclear';
  readonly why: string;
}

export type VolumeMark = FillMark | Seal | ReceivingMark | Unmarked | Unclear;

const TAG_PREFIX = 'lvp:';
const TAG_LENGTH_MAX = 128;
const STATES = ['filling', 'ready', 'receiving'] as const;

/** Escapes text for use in an LVM tag: any byte LVM might refuse becomes `#` and two hex digits. */
function escapeTag(text: string): string {
  return [...Buffer.from(text, 'utf8')]
    .map((byte) => {
      const char = String.fromCharCode(byte);
      return /[A-Za-z0-9._/+=-]/.test(char) ? char : `#${byte.toString(16).padStart(2, '0')}`;
    })
    .join('');
}

/** The tag value for an image: readable when it fits, otherwise its SHA-256. */
export function imageTag(image: ImageReference): string {
  const escaped = escapeTag(imageName(image));
  if (escaped.length + `${TAG_PREFIX}image:`.length <= TAG_LENGTH_MAX) return escaped;
  return `:sha256:${createHash('sha256').update(imageName(image)).digest('hex')}`;
}

/** The tag value for how an image is read: `qcow2`, `raw+zstd`. */
export function formatTag({ format, compression }: Pick<VolumeRequest, 'format' | 'compression'>): string {
  return compression === undefined ? format : `${format}+${compression}`;
}

export const FORMAT_TAG_PATTERN = /^(raw|qcow2)(\+(gzip|zstd|xz))?$/;

/**
 * On an LV that is being adopted and is not yet proven blank under its private name, beside the tags of its
 * fill: it may hold somebody's data, so it is given back and never removed.
 */
export const ADOPTING_TAG = `${TAG_PREFIX}adopting`;

/** Longest LV name a seal can carry. */
export const TARGET_LENGTH_MAX = TAG_LENGTH_MAX - `${TAG_PREFIX}target:`.length;

/** The tags of a volume under construction. */
export function fillTags(mark: Omit<FillMark, 'state'>): string[] {
  return [
    `${TAG_PREFIX}filling`,
    `${TAG_PREFIX}fill:${mark.fillId}`,
    `${TAG_PREFIX}target:${mark.target}`,
    `${TAG_PREFIX}domain:${mark.domainUuid}`,
  ];
}

/** The tags of a finished volume. */
export function sealTags(seal: Omit<Seal, 'state'>): string[] {
  return stateTags('ready', seal);
}

/** The tags of a volume that is set aside for a domain that arrives. */
export function receivingTags(seal: Omit<Seal, 'state'>): string[] {
  return stateTags('receiving', seal);
}

function stateTags(state: 'ready' | 'receiving', seal: Omit<Seal, 'state'>): string[] {
  return [
    `${TAG_PREFIX}${state}`,
    `${TAG_PREFIX}fill:${seal.fillId}`,
    `${TAG_PREFIX}target:${seal.target}`,
    `${TAG_PREFIX}domain:${seal.domainUuid}`,
    `${TAG_PREFIX}image:${seal.image}`,
    `${TAG_PREFIX}sha256:${seal.sha256}`,
    `${TAG_PREFIX}generation:${seal.generation}`,
    ...(seal.format === undefined ? [] : [`${TAG_PREFIX}format:${seal.format}`]),
  ];
}

/** Reads the tags of a volume. Anything but an exact set that we write is `unclear`, never a guess. */
export function readMark(tags: readonly string[]): VolumeMark {
  const ours = tags.filter((tag) => tag.startsWith(TAG_PREFIX)).map((tag) => tag.slice(TAG_PREFIX.length));
  if (ours.length === 0) return { state: 'unmarked' };
  const values = new Map<string, string>();
  for (const tag of ours) {
    const colon = tag.indexOf(':');
    const name = colon < 0 ? tag : tag.slice(0, colon);
    if (values.has(name)) return { state: 'unclear', why: `two tags ${TAG_PREFIX}${name}` };
    values.set(name, colon < 0 ? '' : tag.slice(colon + 1));
  }
  const common = {
    fillId: values.get('fill') ?? '',
    target: values.get('target') ?? '',
    domainUuid: values.get('domain') ?? '',
  };
  if (!FILL_ID_PATTERN.test(common.fillId))
    return { state: 'unclear', why: `no valid tag ${TAG_PREFIX}fill` };
  if (common.target === '') return { state: 'unclear', why: `no tag ${TAG_PREFIX}target` };
  if (common.domainUuid === '') return { state: 'unclear', why: `no tag ${TAG_PREFIX}domain` };
  const [state, ...more] = STATES.filter((name) => values.has(name));
  if (state === undefined || more.length > 0) {
    const names = STATES.map((name) => `${TAG_PREFIX}${name}`).join(', ');
    return { state: 'unclear', why: `exactly one of ${names} is expected` };
  }
  if (state === 'filling') return { state, ...common };
  const image = values.get('image') ?? '';
  const sha256 = values.get('sha256') ?? '';
  const generation = Number(values.get('generation'));
  if (image === '') return { state: 'unclear', why: `no tag ${TAG_PREFIX}image` };
  if (!/^[0-9a-f]{64}$/.test(sha256)) return { state: 'unclear', why: `no valid tag ${TAG_PREFIX}sha256` };
  if (!Number.isSafeInteger(generation) || generation < 1) {
    return { state: 'unclear', why: `no valid tag ${TAG_PREFIX}generation` };
  }
  if (!isJob(common.domainUuid)) return { state, ...common, image, sha256, generation };
  const format = values.get('format') ?? '';
  if (!FORMAT_TAG_PATTERN.test(format)) return { state: 'unclear', why: `no valid tag ${TAG_PREFIX}format` };
  return { state, ...common, image, sha256, generation, format };
}

/**
 * A logical volume as LVM reports it, and what its tags prove about its content. The tags are the truth:
 * they travel with the disks, and a ledger that was lost is rebuilt from them (docs/design.md).
 *
 * LVM allows letters, digits and `_ + . - / = ! : & #` in a tag, at most 1024 characters in new releases
 * and 128 in lvm(8)'s text; we stay below 128 and escape everything else.
 */
import { createHash } from 'node:crypto';
import { isJob } from '../owner.ts';
import type { ImageReference, VolumeRequest } from '../request.ts';
import { imageName } from '../request.ts';

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
  readonly writable: boolean;
  /** The pool of a thin volume. */
  readonly thinPool?: string | undefined;
  /** Of what it is a snapshot, for as long as that is there. */
  readonly origin?: string | undefined;
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

/** A thin pool that the configuration names, as it is now. */
export interface ThinPool {
  readonly vg: string;
  readonly lv: string;
  /** Of its data; what it has mapped for all its thin volumes, 0 while it is not active, rounded up. */
  readonly sizeBytes: number;
  readonly usedBytes: number;
  readonly metadataBytes: number;
  readonly metadataUsedBytes: number;
  /** Unit in which data is mapped. */
  readonly chunkBytes: number;
  /** Chunks are zeroed when they are mapped: what a volume has never written reads zero. */
  readonly zeroes: boolean;
  readonly active: boolean;
  /**
   * LVM's word for what is wrong with it (`lv_health_status`: `out_of_data`, `metadata_read_only`, `failed`), or
   * `needs_check`, where the kernel wants its metadata to be checked (`lv_check_needed`).
   */
  readonly health?: string | undefined;
}

/** Every private name begins so; the udev rule in systemd/ keeps exactly these nodes for their owner alone. */
const PRIVATE_PREFIX = 'lvp-fill-';

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

/** Through what the encrypted private volume of that fill is written: `/dev/mapper/…`, for the service user alone. */
export function mappingName(fillId: string): string {
  return `lvp-crypt-${fillId}`;
}

/** Every published volume that was put aside to be made again has a name that begins so. */
export const RETIRED_PREFIX = 'lvp-old-';

/** The name of a published volume while it waits for the one that takes its place; `fillId` is that of its seal. */
export function retiredName(fillId: string): string {
  return `${RETIRED_PREFIX}${fillId}`;
}

/** Every golden volume has a name that begins so. */
export const GOLDEN_PREFIX = 'lvp-gold-';

/** The final name of the golden volume that this fill makes. */
export function goldenName(fillId: string): string {
  return `${GOLDEN_PREFIX}${fillId}`;
}

/**
 * How the bytes on a volume are encrypted: LUKS1 in front, which QEMU's driver opens (aes-xts-plain64, key of 512
 * bits). It stands in the tags before the first byte is written, and in the seal: a volume is one or the other for life.
 */
export type Encryption = 'luks1';

/**
 * What the LUKS1 header takes at the front of a volume whose key has 512 bits, by cryptsetup and by QEMU alike; the
 * guest sees a disk smaller by that.
 */
export const LUKS_HEADER_BYTES = 2 * 1024 * 1024;

/**
 * How much behind a new header is zero on the disk itself. Encrypted bytes never are, so on a volume that is set aside for
 * a domain that arrives these zeros say that nothing has come yet.
 */
export const LUKS_BLANK_HEAD_BYTES = 4096;

/** What the tags of a volume under construction say. */
export interface FillMark {
  readonly state: 'filling';
  readonly encryption?: Encryption | undefined;
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
  /** Absent: the image stands on the volume as it is. */
  readonly encryption?: Encryption | undefined;
  /** As what the image was read, see formatTag(): only in the seal of a job's volume, and always there. */
  readonly format?: string | undefined;
}

/** A volume that a domain may bring its bytes to by migration; it then carries this seal. */
export type ReceivingMark = Omit<Seal, 'state'> & { readonly state: 'receiving' };

/**
 * What the tags of a golden volume say: a read-only, inactive thin volume that holds an image and nothing else, of
 * which the volumes of guests are snapshots. Its name is goldenName(), and it is nobody's.
 */
export interface GoldenSeal {
  readonly state: 'golden';
  readonly fillId: string;
  /** As in Seal. */
  readonly image: string;
  readonly sha256: string;
  /** As what the image was read, see formatTag(). */
  readonly format: string;
  /** Virtual size of the image; the volume is that large in whole extents. */
  readonly sizeBytes: number;
  /** Of all of the volume, as it was read back after the fill: contentDigest(). */
  readonly contentSha256: string;
  /** What it holds of its pool; the root helper measures it. */
  readonly mappedBytes: number;
  /** Of the image object, see versionTag(). */
  readonly version?: string | undefined;
}

/** A golden seal before the helper has measured the volume. */
export type NewGoldenSeal = Omit<GoldenSeal, 'mappedBytes'>;

/** Which golden volume is meant. */
export type GoldenReference = Pick<GoldenSeal, 'fillId' | 'sha256' | 'format'>;

/** No tag of ours at all: somebody else's volume, or a blank one a tool has just made. */
export interface Unmarked {
  readonly state: 'unmarked';
}

/** Some tags of ours, but not a set we ever write: touched by hand. Never used, never removed. */
export interface Unclear {
  readonly state: 'unclear';
  readonly why: string;
}

export type VolumeMark = FillMark | Seal | ReceivingMark | GoldenSeal | Unmarked | Unclear;

const TAG_PREFIX = 'lvp:';
const TAG_LENGTH_MAX = 128;
const STATES = ['filling', 'ready', 'receiving', 'golden'] as const;

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
  return tagValue('image', imageName(image));
}

/** `BUCKET/KEY` in such a tag value; undefined if it was too long, so that only its SHA-256 is there. */
export function imageNameOfTag(tag: string): string | undefined {
  if (tag.startsWith(':sha256:')) return undefined;
  const bytes = tag
    .split(/#([0-9a-f]{2})/)
    .map((part, at) => Buffer.from(part, at % 2 === 1 ? 'hex' : 'utf8'));
  return Buffer.concat(bytes).toString('utf8');
}

/** The tag value for the version of an image object, made in the same way. */
export function versionTag(version: string): string {
  return tagValue('version', version);
}

function tagValue(name: string, text: string): string {
  const escaped = escapeTag(text);
  if (escaped.length + `${TAG_PREFIX}${name}:`.length <= TAG_LENGTH_MAX) return escaped;
  return `:sha256:${createHash('sha256').update(text).digest('hex')}`;
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
    ...encryptionTags(mark),
  ];
}

function encryptionTags({ encryption }: { readonly encryption?: Encryption | undefined }): string[] {
  return encryption === undefined ? [] : [`${TAG_PREFIX}encryption:${encryption}`];
}

/** The tags of a finished volume. */
export function sealTags(seal: Omit<Seal, 'state'>): string[] {
  return stateTags('ready', seal);
}

/** The tags of a volume that is set aside for a domain that arrives. */
export function receivingTags(seal: Omit<Seal, 'state'>): string[] {
  return stateTags('receiving', seal);
}

/** The tags of a golden volume. */
export function goldenTags(seal: Omit<GoldenSeal, 'state'>): string[] {
  return [
    `${TAG_PREFIX}golden`,
    `${TAG_PREFIX}fill:${seal.fillId}`,
    `${TAG_PREFIX}image:${seal.image}`,
    `${TAG_PREFIX}sha256:${seal.sha256}`,
    `${TAG_PREFIX}format:${seal.format}`,
    `${TAG_PREFIX}size:${seal.sizeBytes}`,
    `${TAG_PREFIX}content:${seal.contentSha256}`,
    `${TAG_PREFIX}mapped:${seal.mappedBytes}`,
    ...(seal.version === undefined ? [] : [`${TAG_PREFIX}version:${seal.version}`]),
  ];
}

/** The tags of a volume under its final name, finished or set aside. */
export function finalTags(seal: Seal | ReceivingMark): string[] {
  return stateTags(seal.state, seal);
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
    ...encryptionTags(seal),
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
  if (!FILL_ID_PATTERN.test(values.get('fill') ?? '')) {
    return { state: 'unclear', why: `no valid tag ${TAG_PREFIX}fill` };
  }
  const states = STATES.filter((name) => values.has(name));
  return states.length === 1 && states[0] === 'golden' ? readGolden(values) : readOwned(values);
}

/** A mark that says whose the volume is. */
function readOwned(values: ReadonlyMap<string, string>): VolumeMark {
  const encryption = values.get('encryption');
  const common = {
    fillId: values.get('fill') ?? '',
    target: values.get('target') ?? '',
    domainUuid: values.get('domain') ?? '',
    ...(encryption === 'luks1' ? ({ encryption } as const) : {}),
  };
  if (encryption !== undefined && encryption !== 'luks1') {
    return { state: 'unclear', why: `no valid tag ${TAG_PREFIX}encryption` };
  }
  if (common.target === '') return { state: 'unclear', why: `no tag ${TAG_PREFIX}target` };
  if (common.domainUuid === '') return { state: 'unclear', why: `no tag ${TAG_PREFIX}domain` };
  const [state, ...more] = STATES.filter((name) => values.has(name));
  if (state === undefined || state === 'golden' || more.length > 0) {
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

function readGolden(values: ReadonlyMap<string, string>): GoldenSeal | Unclear {
  const text = (name: string): string => values.get(name) ?? '';
  const digest = /^[0-9a-f]{64}$/;
  const wrong = (
    [
      ['image', text('image') !== ''],
      ['sha256', digest.test(text('sha256'))],
      ['format', FORMAT_TAG_PATTERN.test(text('format'))],
      ['size', isCount(text('size')) && Number(text('size')) > 0],
      ['content', digest.test(text('content'))],
      ['mapped', isCount(text('mapped'))],
      ['version', values.get('version') !== ''],
    ] as const
  ).find(([, isRight]) => !isRight);
  if (wrong !== undefined) return { state: 'unclear', why: `no valid tag ${TAG_PREFIX}${wrong[0]}` };
  const version = values.get('version');
  return {
    ...{ state: 'golden', fillId: text('fill'), image: text('image'), sha256: text('sha256') },
    ...{ format: text('format'), sizeBytes: Number(text('size')), contentSha256: text('content') },
    mappedBytes: Number(text('mapped')),
    ...(version === undefined ? {} : { version }),
  };
}

/** Of bytes, as a tag says it. */
function isCount(text: string): boolean {
  return /^(0|[1-9][0-9]*)$/.test(text) && Number.isSafeInteger(Number(text));
}

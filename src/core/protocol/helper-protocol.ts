/**
 * What the daemon and the root helper say to each other: one JSON object a line, each way. Both sides
 * check every line against these schemas; the helper trusts nothing that the daemon sends.
 *
 * Keys are never in a line. Where a request says `keyLengths`, or the result of an answer `keyLength`, exactly that many
 * raw bytes follow its newline.
 */
import { z } from 'zod';
import type { ErrorCode } from '../errors.ts';
import { KEY_BYTES_MAX, KEY_BYTES_MIN, KEY_FILE_PATTERN } from '../key/key-reference.ts';
import { GOLDEN_OWNER, isGolden } from '../owner.ts';
import { UUID_PATTERN } from '../uuid.ts';
import { isLvName, isVgName, RESERVED_PREFIX, targetNameMistake } from '../volume/lvm-names.ts';
import { FILL_ID_PATTERN, FORMAT_TAG_PATTERN, goldenName } from '../volume/volume.ts';

/** Longest request line; the largest real one is below 2 KiB. */
export const REQUEST_BYTES_MAX = 64 * 1024;

/** Longest answer the daemon reads: a list of some 20 000 volumes. */
export const RESPONSE_BYTES_MAX = 16 * 1024 * 1024;

/** Larger volumes are typing errors. */
const SIZE_BYTES_MAX = 1024 ** 5;

const Vg = z.string().max(127).refine(isVgName, 'is not a legal volume group name');
const Lv = z.string().max(127).refine(isLvName, 'is not a legal logical volume name');
const FillId = z.string().regex(FILL_ID_PATTERN);
const DomainUuid = z.string().regex(UUID_PATTERN);
/** A domain or a job (owner.ts). */
const Owner = z.string().regex(/^(job:)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);

const Encryption = z.literal('luks1');

/** The final name must be good for a published volume now, not only when the fill is finished. */
const OwnedFields = z.strictObject({
  ...{ vg: Vg, fillId: FillId, target: Lv, domainUuid: Owner },
  encryption: Encryption.optional(),
});
type OwnedFields = z.infer<typeof OwnedFields>;
const isTargetLegal = ({ vg, target }: OwnedFields): boolean => targetNameMistake(vg, target) === undefined;
const TARGET_MISTAKE = 'cannot be published under that name';
const OwnedVolume = OwnedFields.refine(isTargetLegal, TARGET_MISTAKE);
const EncryptedVolume = OwnedFields.extend({ encryption: Encryption }).refine(isTargetLegal, TARGET_MISTAKE);
/** What is a snapshot of a golden volume holds that one's bytes, which no key of its own has encrypted. */
const PlainVolume = OwnedFields.omit({ encryption: true }).refine(isTargetLegal, TARGET_MISTAKE);

/** Its final name follows from the fill, and is one that nobody else's volume can have. */
const FutureGolden = z
  .strictObject({ vg: Vg, fillId: FillId, target: Lv, domainUuid: z.literal(GOLDEN_OWNER) })
  .refine(({ fillId, target }) => target === goldenName(fillId), 'is not the name of a golden volume');

const PrivateVolume = z.union([OwnedVolume, FutureGolden]);

const SizeBytes = z.int().min(1).max(SIZE_BYTES_MAX);
const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);
/** As tagValue() in volume.ts makes it: its characters only, and no longer than a tag may be. */
const tagValue = (lengthMax: number) =>
  z.string().regex(new RegExp(`^(:sha256:[0-9a-f]{64}|[A-Za-z0-9._/+=#-]{1,${lengthMax}})$`));

/** What a seal says, whether the volume is finished or only set aside for a domain that arrives. */
const SealFields = z.strictObject({
  fillId: FillId,
  target: Lv,
  domainUuid: Owner,
  image: tagValue(118),
  sha256: Sha256,
  generation: z.int().min(1),
  format: z.string().regex(FORMAT_TAG_PATTERN).optional(),
  encryption: Encryption.optional(),
});

export const Seal = SealFields.extend({ state: z.literal('ready') });
/** Volumes are set aside for domains alone. */
const ReceivingMark = SealFields.omit({ format: true }).extend({
  state: z.literal('receiving'),
  domainUuid: DomainUuid,
});

/** That of a volume under its final name: a name of ours is none. */
export const PublishedSeal = Seal.refine(
  ({ target }) => !target.startsWith(RESERVED_PREFIX),
  'no volume is published under that name',
);

/** Of an encrypted volume that is finished, or set aside for a domain that arrives. */
const EncryptedSeal = Seal.extend({ encryption: Encryption });
const EncryptedMark = ReceivingMark.extend({ encryption: Encryption });

/** Before the helper has measured what the volume holds of its pool. */
const NewGoldenSeal = z.strictObject({
  state: z.literal('golden'),
  fillId: FillId,
  image: tagValue(118),
  sha256: Sha256,
  format: z.string().regex(FORMAT_TAG_PATTERN),
  sizeBytes: SizeBytes,
  contentSha256: Sha256,
  version: tagValue(116).optional(),
});

const GoldenSeal = NewGoldenSeal.extend({ mappedBytes: z.int().min(0).max(SIZE_BYTES_MAX) });

const encryptionOf = (what: object): unknown => ('encryption' in what ? what.encryption : undefined);

const KeyLength = z.int().min(KEY_BYTES_MIN).max(KEY_BYTES_MAX);
const OneKey = z.tuple([KeyLength]);
const TwoKeys = z.tuple([KeyLength, KeyLength]);

const Publish = z
  .strictObject({
    verb: z.literal('publish'),
    volume: PrivateVolume,
    seal: z.discriminatedUnion('state', [Seal, ReceivingMark, NewGoldenSeal]),
    /** Of an encrypted volume that is not sealed yet. */
    keyLengths: OneKey.optional(),
  })
  .refine(
    ({ volume, seal }) =>
      seal.fillId === volume.fillId &&
      (seal.state === 'golden'
        ? isGolden(volume.domainUuid)
        : seal.target === volume.target &&
          seal.domainUuid === volume.domainUuid &&
          encryptionOf(volume) === encryptionOf(seal)),
    'the seal is of another volume',
  )
  .refine(
    ({ seal, keyLengths }) => keyLengths === undefined || encryptionOf(seal) !== undefined,
    'a volume that is not encrypted has no key',
  );

export const HelperRequest = z.discriminatedUnion('verb', [
  z.strictObject({ verb: z.literal('list') }),
  z.strictObject({ verb: z.literal('examine'), vg: Vg, lv: Lv }),
  z.strictObject({
    verb: z.literal('create'),
    volume: PrivateVolume,
    sizeBytes: SizeBytes,
    thinPool: Lv.optional(),
  }),
  z.strictObject({
    verb: z.literal('clone'),
    // One that is golden's own is only read, to see whether that holds what it should.
    volume: z.union([PlainVolume, FutureGolden]),
    golden: z.strictObject({ fillId: FillId, sha256: Sha256, format: z.string().regex(FORMAT_TAG_PATTERN) }),
    sizeBytes: SizeBytes,
  }),
  z.strictObject({ verb: z.literal('adopt'), volume: OwnedVolume }),
  Publish,
  // Nothing ever becomes a job's that way.
  z.strictObject({ verb: z.literal('claim'), vg: Vg, seal: Seal, domainUuid: DomainUuid }),
  z.strictObject({ verb: z.literal('retire'), vg: Vg, seal: PublishedSeal }),
  z.strictObject({ verb: z.literal('restore'), vg: Vg, seal: PublishedSeal }),
  z.strictObject({ verb: z.literal('arrive'), vg: Vg, seal: PublishedSeal }),
  z.strictObject({ verb: z.literal('recall'), vg: Vg, fillId: FillId }),
  z.strictObject({ verb: z.literal('discard'), vg: Vg, fillId: FillId }),
  z.strictObject({
    verb: z.literal('drop'),
    vg: Vg,
    seal: z.discriminatedUnion('state', [PublishedSeal, GoldenSeal]),
  }),
  z.strictObject({ verb: z.literal('formatLuks'), volume: EncryptedVolume, keyLengths: OneKey }),
  z.strictObject({ verb: z.literal('openLuks'), volume: EncryptedVolume, keyLengths: OneKey }),
  z.strictObject({ verb: z.literal('closeLuks'), vg: Vg, fillId: FillId }),
  z.strictObject({
    verb: z.literal('checkLuks'),
    vg: Vg,
    seal: z.discriminatedUnion('state', [EncryptedSeal, EncryptedMark]),
    keyLengths: OneKey,
  }),
  z.strictObject({ verb: z.literal('addLuksKey'), vg: Vg, seal: EncryptedSeal, keyLengths: TwoKeys }),
  z.strictObject({ verb: z.literal('keepOnlyLuksKey'), vg: Vg, seal: EncryptedSeal, keyLengths: OneKey }),
  z.strictObject({ verb: z.literal('eraseLuks'), vg: Vg, seal: EncryptedSeal }),
  z.strictObject({ verb: z.literal('readKey'), name: z.string().regex(KEY_FILE_PATTERN) }),
]);
export type HelperRequest = z.infer<typeof HelperRequest>;

/** How many bytes each of the keys behind that line has; undefined if it is no request at all. */
export function keyLengthsOf(line: string): readonly number[] | undefined {
  const request = HelperRequest.safeParse(parseJson(line));
  if (!request.success) return undefined;
  return keyLengthsIn(request.data);
}

/** The same of a request that is read already. */
export function keyLengthsIn(request: HelperRequest): readonly number[] {
  return ('keyLengths' in request ? request.keyLengths : undefined) ?? [];
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

const LogicalVolume = z.strictObject({
  vg: z.string(),
  lv: z.string(),
  uuid: z.string(),
  sizeBytes: z.int().min(0),
  tags: z.array(z.string()),
  active: z.boolean(),
  open: z.boolean(),
  segmentType: z.string(),
  writable: z.boolean(),
  thinPool: z.string().optional(),
  origin: z.string().optional(),
});

const VolumeGroup = z.strictObject({
  vg: z.string(),
  sizeBytes: z.int().min(0),
  freeBytes: z.int().min(0),
  extentBytes: z.int().min(1),
  shared: z.boolean(),
});

const ThinPool = z.strictObject({
  vg: z.string(),
  lv: z.string(),
  sizeBytes: z.int().min(0),
  usedBytes: z.int().min(0),
  metadataBytes: z.int().min(0),
  metadataUsedBytes: z.int().min(0),
  chunkBytes: z.int().min(1),
  zeroes: z.boolean(),
  active: z.boolean(),
  health: z.string().optional(),
});

/** What each verb answers. */
export const HELPER_RESULTS = {
  list: z.strictObject({
    volumes: z.array(LogicalVolume),
    groups: z.array(VolumeGroup),
    thinPools: z.array(ThinPool),
  }),
  examine: z.union([
    z.strictObject({ blank: z.literal(true) }),
    z.strictObject({ blank: z.literal(false), why: z.string() }),
  ]),
  create: z.strictObject({ made: z.enum(['created', 'existing']), sizeBytes: z.int().min(1) }),
  clone: z.strictObject({ made: z.enum(['created', 'existing']), sizeBytes: z.int().min(1) }),
  adopt: z.strictObject({ sizeBytes: z.int().min(1) }),
  publish: z.null(),
  claim: z.null(),
  retire: z.null(),
  restore: z.null(),
  arrive: z.null(),
  recall: z.null(),
  discard: z.null(),
  drop: z.null(),
  formatLuks: z.strictObject({ sizeBytes: z.int().min(1) }),
  openLuks: z.strictObject({ sizeBytes: z.int().min(1) }),
  closeLuks: z.null(),
  checkLuks: z.strictObject({ keys: z.int().min(1).max(8) }),
  addLuksKey: z.null(),
  keepOnlyLuksKey: z.null(),
  eraseLuks: z.null(),
  readKey: z.strictObject({ keyLength: KeyLength }),
} as const;

export type HelperVerb = keyof typeof HELPER_RESULTS;
export type HelperResult<Verb extends HelperVerb> = z.infer<(typeof HELPER_RESULTS)[Verb]>;

/** The errors a helper has reason to report; any other code in an answer is a defect. */
const HELPER_ERRORS = [
  'CONFIG_INVALID',
  'USAGE',
  'HELPER_UNAVAILABLE',
  'HELPER_FAILED',
  'VG_FULL',
  'TIMEOUT',
  'POOL_UNSUITABLE',
  'VOLUME_NOT_BLANK',
  'VOLUME_MISSING',
  'VOLUME_STATE',
  'KEY_NOT_FOUND',
  'KEY_UNUSABLE',
  'KEY_WRONG',
  'INTERNAL',
] as const satisfies readonly ErrorCode[];

export const HelperResponse = z.discriminatedUnion('ok', [
  z.strictObject({ ok: z.literal(true), result: z.unknown() }),
  z.strictObject({
    ok: z.literal(false),
    problem: z.strictObject({
      code: z.enum(HELPER_ERRORS),
      message: z.string(),
      hint: z.string().optional(),
    }),
  }),
]);
export type HelperResponse = z.infer<typeof HelperResponse>;

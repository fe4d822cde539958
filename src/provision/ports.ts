/**
 * What the verbs of this folder need from the outside world. Each interface has one adapter for the real
 * thing in ../adapters and, where faults are simulated, a fake behind the same contract suite in test/.
 *
 * Contract for all of them: a failure is a ProvisionError whose message names the thing acted on; vendor
 * errors are kept as `cause` and go no further. Every call ends within a bounded time of its own accord.
 */
import type { AuditEvent } from '../core/audit-event.ts';
import type { AuditEvents, AuditQuery } from '../core/audit-protocol.ts';
import type {
  AnnotateRequest,
  AnnotateResult,
  DomainDisks,
  DomainStatus,
  Explanation,
  LookResult,
  ReprovisionRequest,
  ReprovisionResult,
} from '../core/control-protocol.ts';
import type { GarbageReport, GarbageRequest } from '../core/garbage-protocol.ts';
import type { Problem } from '../core/errors.ts';
import type { Frozen } from '../core/frozen.ts';
import type { Handover, ReceiveResult } from '../core/handover.ts';
import type { Headroom } from '../core/headroom.ts';
import type {
  CachedImages,
  GcResult,
  ImageFacts,
  ImageRequest,
  PrefetchRequest,
  ReadImage,
  RmResult,
  StoredImages,
} from '../core/image-protocol.ts';
import type { KeyChange } from '../core/key-change.ts';
import type {
  CryptoEraseRequest,
  CryptoEraseResult,
  RotateKeyRequest,
  RotateKeyResult,
} from '../core/key-protocol.ts';
import type { KeyReference } from '../core/key-reference.ts';
import type { Job, JobFilter, JobRequest, Jobs } from '../core/job-protocol.ts';
import type { LastEnd, ShutoffReason } from '../core/last-end.ts';
import type { Blankness } from '../core/plan.ts';
import type { PlannedFill } from '../core/planned-fill.ts';
import type { ListedObject } from '../core/prefetch-rule.ts';
import type { CompressedExtent } from '../core/images/layout.ts';
import type {
  Domain,
  ImageReference,
  LogicalPool,
  OuterCompression,
  PooledLocation,
  VolumeLocation,
} from '../core/request.ts';
import type { HashFrom } from '../core/resumable-sha256.ts';
import type {
  Encryption,
  GoldenReference,
  GoldenSeal,
  LogicalVolume,
  NewGoldenSeal,
  ReceivingMark,
  Seal,
  ThinPool,
  VolumeGroup,
} from '../core/volume.ts';
import type { Hasher } from './hasher.ts';

export type { Blankness } from '../core/plan.ts';
export type { PrefetchState } from './prefetch-state.ts';
export type { FillState } from '../core/planned-fill.ts';
export type { FillFacts, FillStep, FillTrace } from './fill-trace.ts';

/** A domain as libvirt knows it now. */
export interface LibvirtDomain {
  readonly uuid: string;
  readonly name: string;
  /** The inactive (next boot) XML of a persistent domain, else the live one. Without security information. */
  readonly xml: string;
  readonly active: boolean;
  readonly persistent: boolean;
  readonly autostart: boolean;
  /** Why it is shut off; only of a persistent domain that is. */
  readonly shutoff?: ShutoffReason | undefined;
}

/** Domains, over org.libvirt on the system bus. A domain that is gone is `undefined`, not an error. */
export interface Domains {
  list(): Promise<readonly string[]>;
  read(uuid: string): Promise<LibvirtDomain | undefined>;
  /** Only its XML, as in LibvirtDomain: a single call, for a host may have thousands that are not annotated. */
  xml(uuid: string): Promise<string | undefined>;
  find(nameOrUuid: string): Promise<LibvirtDomain | undefined>;
  /** All XML there is of it, without security information: the definition, and the live one if it runs. */
  everyXml(uuid: string): Promise<readonly string[] | undefined>;
  start(uuid: string): Promise<void>;
  /** True if its guest runs here, or did and is paused, and did not begin here: it has come with all its bytes. */
  hasArrived(uuid: string): Promise<boolean>;
  /** Whether its memory is saved (`virsh managedsave`): its next start goes on with that memory. */
  hasManagedSave(uuid: string): Promise<boolean>;
  /** Replaces the element in our namespace, in the persistent definition and, if running, the live one. */
  writeAnnotation(uuid: string, elementXml: string): Promise<void>;
}

/** Logical storage pools, over org.libvirt. These answer even while a qemu hook holds a domain. */
export interface Pools {
  list(): Promise<readonly LogicalPool[]>;
  /** Makes libvirt see new, renamed and removed LVs. */
  refresh(pool: string): Promise<void>;
  start(pool: string): Promise<void>;
  /**
   * Removes an LV under libvirt's own lock of the pool, so that no concurrent refresh can trip over it
   * and take the pool down. Succeeds if the volume is already gone.
   */
  deleteVolume(pool: string, lv: string): Promise<void>;
}

/**
 * What has happened in libvirt; every one of these means "look again", and no more. The one exception is the
 * `change` of a domain: once it has gone nobody can look up any more how its guest ended.
 */
export type LibvirtEvent =
  /** `mayHaveRun`: its guest was let run or paused. */
  | {
      readonly kind: 'domain';
      readonly uuid: string;
      readonly change?: DomainChange | undefined;
      readonly mayHaveRun?: true;
    }
  | { readonly kind: 'pool' }
  /** The connection was made or made again: anything may have happened meanwhile. */
  | { readonly kind: 'connected' }
  | { readonly kind: 'disconnected'; readonly problem: Problem };

/** It was defined or its metadata changed; its guest began to run; was shut down or destroyed; moved to another host. */
export type DomainChange = 'defined' | 'begun' | 'ended' | 'migrated';

/** The private volume a fill writes to. */
export interface PrivateVolume {
  readonly vg: string;
  readonly fillId: string;
  /** Final LV name; that of a golden volume is goldenName(). */
  readonly target: string;
  /** Or a job, or GOLDEN_OWNER (core/owner.ts). */
  readonly domainUuid: string;
  /** Absent: the image is written to it as it is. */
  readonly encryption?: Encryption | undefined;
}

export interface VolumeListing {
  readonly volumes: readonly LogicalVolume[];
  readonly groups: readonly VolumeGroup[];
  readonly thinPools: readonly ThinPool[];
}

/** The root helper. Every call checks names, group, tags and sizes again on the other side. */
export interface Volumes {
  /** All LVs, the free space and the thin pools of what is configured; what does not exist is left out. */
  list(): Promise<VolumeListing>;
  /** Whether an unmarked volume is provably blank; reads it, changes nothing. */
  examine(vg: string, lv: string): Promise<Blankness>;
  /**
   * Makes the private LV of at least `sizeBytes`, in the group's thin pool if one is named, all of which then reads
   * zero; if this fill already has one, answers `existing`, and what it reads as is not known. POOL_UNSUITABLE if
   * the pool is not the configured one, is not active, or does not zero what it maps.
   */
  create(
    volume: PrivateVolume,
    sizeBytes: number,
    thinPool?: string,
  ): Promise<{ readonly made: 'created' | 'existing'; readonly sizeBytes: number }>;
  /**
   * Makes the private LV a snapshot of the golden volume, of at least `sizeBytes`, all of which beyond the image
   * reads zero; if this fill already has one, it goes on with that. Can be repeated. VOLUME_MISSING if there is no
   * such golden volume, VOLUME_STATE if it is not what it has to be.
   */
  clone(
    volume: PrivateVolume,
    golden: GoldenReference,
    sizeBytes: number,
  ): Promise<{ readonly made: 'created' | 'existing'; readonly sizeBytes: number }>;
  /** Renames a blank, unmarked, unopened LV from `volume.target` to the private name and marks it. */
  adopt(volume: PrivateVolume): Promise<{ readonly sizeBytes: number }>;
  /**
   * Swaps the marks for the seal, or for the marks of a volume that is to receive one, renames to the final
   * name, sets owner and mode back. A golden volume is made read-only and deactivated. Can be repeated. An encrypted
   * one is tried before, with the `key` that it wants unless it is sealed: KEY_WRONG if that does not open it.
   */
  publish(volume: PrivateVolume, seal: Seal | ReceivingMark | NewGoldenSeal, key?: VolumeKey): Promise<void>;
  /** Makes an unopened, sealed volume that of another domain. Can be repeated. */
  claim(vg: string, seal: Seal, domainUuid: string): Promise<void>;
  /** Renames the unopened volume with exactly this seal to its name aside; its tags stay. Can be repeated. */
  retire(vg: string, seal: Seal): Promise<void>;
  /** Gives a retired volume its final name back, which must be free. Can be repeated. */
  restore(vg: string, seal: Seal): Promise<void>;
  /** Seals a volume that has received what this seal says. Can be repeated. */
  arrive(vg: string, seal: Seal): Promise<void>;
  /** Makes an unopened volume that was set aside to receive a private one that is being filled. Can be repeated. */
  recall(vg: string, fillId: string): Promise<void>;
  /**
   * Gives back a volume whose taking over was cut off; removes any other private LV, without libvirt: only for
   * a group that no pool of libvirt is on, and for thin volumes, which no pool of libvirt shows. Succeeds if already
   * gone.
   */
  discard(volume: Pick<PrivateVolume, 'vg' | 'fillId'>): Promise<void>;
  /**
   * Removes the unopened thin volume with exactly this seal, under its final name or aside, or the golden volume;
   * any other is VOLUME_STATE. Succeeds if already gone.
   */
  drop(vg: string, seal: Seal | GoldenSeal): Promise<void>;
}

/** The part of the root helper that deals with encrypted volumes; the same checks hold. */
export interface LuksVolumes {
  /**
   * Puts a LUKS1 header with this one key in front of the private volume, which was made to be encrypted, and opens it
   * as openLuks() does. Whatever it held cannot be read any more. VOLUME_STATE if it is another kind of volume or somebody
   * has it open.
   */
  formatLuks(volume: PrivateVolume, key: VolumeKey): Promise<{ readonly sizeBytes: number }>;
  /**
   * Opens the private volume; what is then written through VolumeDevices.open() is encrypted on its way. One that is open
   * already, since a crash, is closed first. KEY_WRONG; VOLUME_STATE if there is no header of ours on it.
   */
  openLuks(volume: PrivateVolume, key: VolumeKey): Promise<{ readonly sizeBytes: number }>;
  /** Can be repeated; publish() and discard() need it done. VOLUME_STATE while somebody has it open. */
  closeLuks(volume: Pick<PrivateVolume, 'vg' | 'fillId'>): Promise<void>;
  /** Whether the key opens the volume with exactly this seal: KEY_WRONG if not. Reads only, whoever has it open. */
  checkLuks(vg: string, seal: Seal | ReceivingMark, key: VolumeKey): Promise<{ readonly keys: number }>;
  /** Has `added` open the unopened volume, too; nothing if it does already. KEY_WRONG if `key` does not. */
  addLuksKey(vg: string, seal: Seal, key: VolumeKey, added: VolumeKey): Promise<void>;
  /** Has nothing but this key open the unopened volume. KEY_WRONG, and nothing is changed, if it does not. */
  keepOnlyLuksKey(vg: string, seal: Seal, key: VolumeKey): Promise<void>;
  /** Makes the content of the unopened volume unreadable for ever, whoever has which key. */
  eraseLuks(vg: string, seal: Seal): Promise<void>;
}

/**
 * A key in memory: never a string, which could not be overwritten. Whoever has asked for one wipes it as soon as it
 * was used.
 */
export interface VolumeKey {
  readonly bytes: Buffer;
  wipe(): void;
}

/** Keys that stand on this host, each as a credential that systemd has encrypted and the root helper alone can read. */
export interface KeyFiles {
  /** KEY_NOT_FOUND if there is none of that name; KEY_UNUSABLE if it cannot be decrypted here, or cannot be a key. */
  readKey(name: string): Promise<VolumeKey>;
}

/** Where keys come from. Nothing is remembered here between two calls: whoever may not read any more is refused. */
export interface Keys {
  /**
   * The key, read with this host's own identity. KEY_DENIED, KEY_NOT_FOUND, KEY_SERVER_UNREACHABLE; KEY_UNUSABLE if what
   * is there cannot be a key (core/key-reference.ts); CONFIG_INVALID if this host has no such provider.
   */
  read(reference: KeyReference, signal: AbortSignal): Promise<VolumeKey>;
}

/** What libvirt is told to open the disks of guests with. Ephemeral and private secrets: in its memory alone, and nobody can read them. */
export interface GuestSecrets {
  /**
   * Defines or replaces the secret of that volume's path (secretUuid()) and sets its value. VOLUME_STATE if somebody
   * else's secret stands for that path. The key is not wiped. Works while a qemu hook of `prepare` waits.
   */
  set(path: string, key: VolumeKey): Promise<void>;
  /** Succeeds if there is none. Never one that is not ours. */
  unset(path: string): Promise<void>;
  /** The paths of those that are ours. */
  list(): Promise<readonly string[]>;
}

/** An image object pinned to one state of its bytes. */
export interface ImageObject {
  readonly image: ImageReference;
  readonly sizeBytes: number;
  readonly etag: string;
  /** Present when the bucket is versioned. */
  readonly version?: string | undefined;
  /**
   * What the store says of the SHA-256, where whoever uploaded it asked for that. It proves nothing, for it comes
   * from where the bytes come from; but it can tell early that they are others than those that are meant.
   */
  readonly storeSha256?: string | undefined;
}

export interface ReadOptions {
  readonly signal: AbortSignal;
  /** Told how many more bytes stand in `target`: a read that fails may have brought some. */
  readonly onBytes?: ((countBytes: number) => void) | undefined;
  /** The bytes behind these are wanted next: the store may be asked for them along with these. */
  readonly goesOn?: boolean | undefined;
}

/** The bucket store (MinIO, S3). */
export interface Images {
  /** Pins the object as it is now; IMAGE_NOT_FOUND, STORE_ACCESS_DENIED, STORE_UNREACHABLE. */
  stat(image: ImageReference, version?: string): Promise<ImageObject>;
  /**
   * Puts the bytes of exactly that object from `offsetBytes` on into `target`, front to back, until it is
   * full. IMAGE_CHANGED if the object is another one by now, IMAGE_TRUNCATED if it ends early. Once the
   * promise has settled, however it did, nothing writes to `target` any more.
   */
  readInto(object: ImageObject, offsetBytes: number, target: Uint8Array, options: ReadOptions): Promise<void>;
  /** A small text object such as a sidecar digest; undefined if there is none. At most 64 KiB. */
  readText(image: ImageReference): Promise<string | undefined>;
}

/** What stands in a bucket; `isCutShort`: there is more than was asked for. */
export interface BucketListing {
  readonly objects: readonly ListedObject[];
  readonly isCutShort: boolean;
}

/** Both only mean "look again": what is told may be lost, come twice, or be false. */
export interface Listener {
  /** The store has begun to tell; what was changed before was not told. */
  readonly onOpen: () => void;
  readonly onChange: () => void;
}

/** `not-offered`: the store does not know such requests, or does not allow them; asking again soon is of no use. */
export type ListenEnd =
  { readonly how: 'ended' } | { readonly how: 'failed' | 'not-offered'; readonly problem: Problem };

/** Buckets of the store. */
export interface Buckets {
  /** The objects whose keys begin so, in the order of their keys, at most so many of them. Fails as Images do. */
  list(bucket: string, prefix: string, countMax: number, signal: AbortSignal): Promise<BucketListing>;
  /** Tells of changes to such objects until the connection or the signal ends. Does not reject, nor connect again. */
  listen(bucket: string, prefix: string, listener: Listener, signal: AbortSignal): Promise<ListenEnd>;
}

/** Threads that work on the memory of one fill, beside the program's own. */
export interface Workshop {
  /** The fill's buffers; begins on a page, and is shared with the threads, so that nothing is copied. */
  readonly memory: ArrayBufferLike;
  /** SHA-256 over the fill's object. */
  readonly hasher: Hasher;
  /**
   * Decompresses the clusters, all of one kind, in their order and without gaps, to the front of `target`:
   * a part of `memory` with at least CLUSTER_OVERRUN_BYTES more than they need. IMAGE_MALFORMED if one is
   * damaged or has another length than it must have.
   */
  decompress(clusters: readonly CompressedExtent[], target: Uint8Array): Promise<void>;
  /** Resolves when no thread works on `memory` any more. */
  close(): Promise<void>;
}

/** Where workshops come from; the threads are the same for all of them. */
export interface Workshops {
  /** With `hashFrom` the hasher goes on where an earlier one stood. */
  open(memoryBytes: number, hashFrom?: HashFrom): Workshop;
}

/** What a thread may write behind a cluster that is too long, before it notices. */
export const CLUSTER_OVERRUN_BYTES = 64;

/** Takes the outer compression off an object. */
export interface Decompressors {
  /**
   * The content of a compressed object. `stored` gives its bytes in order; the memory of each piece may be
   * used again as soon as the next one is asked for. IMAGE_MALFORMED if they are damaged, cut short, or
   * followed by anything else. Whoever stops early leaves nothing running; failures of `stored` pass through.
   */
  content(
    compression: OuterCompression,
    stored: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array>;
}

/**
 * Objects on this host's disk, as stored in the bucket, so that one download serves many volumes. Entries
 * are named by their SHA-256, and whoever reads one compares the digest again.
 */
export interface ImageCache {
  /** How much may stay when nobody uses it; 0: nothing. */
  readonly budgetBytes: number;
  lease(object: ImageObject, options: LeaseOptions): Promise<ImageLease>;
  list(): Promise<readonly CachedImage[]>;
  /** Removes what is neither in use nor pinned: the least recently used beyond the budget, or everything. */
  evict(what: 'over-budget' | 'all'): Promise<readonly CachedImage[]>;
  /** Removes one. IMAGE_IN_USE, POLICY_REFUSED if it is pinned, IMAGE_NOT_FOUND. */
  remove(sha256: string): Promise<CachedImage>;
  /** Files that belong to no entry and no download under way; removes them if asked to. */
  strays(what: 'list' | 'remove'): Promise<readonly string[]>;
}

export interface LeaseOptions {
  /** If it is known, the object may come from the cache. */
  readonly sha256?: string | undefined;
  /**
   * Something else proves the object, such as a signature, and is compared again with whatever bytes come: then the
   * cache may give those that it was told had been read of exactly this state of the object.
   */
  readonly isProvenOtherwise?: boolean | undefined;
  /** Others ask for the same object now or soon: it is fetched once for all of them. */
  readonly isShared: boolean;
}

/** A way to the bytes of one pinned object. */
export interface ImageLease {
  readonly from: 'cache' | 'store';
  /** The name of the entry that the bytes come from. */
  readonly sha256?: string | undefined;
  /** Reads go through here. */
  readonly images: Images;
  /** The object has been read and has this digest: it may be kept under it. True if it is in the cache now. */
  keep(sha256: string): Promise<boolean>;
  /** The bytes that came from the cache were not those of its name: the entry goes. */
  distrust(): Promise<void>;
  /** As long as `isStillWanted` says so the entry stays, whatever the budget. */
  close(isStillWanted: () => boolean): Promise<void>;
}

export interface CachedImage {
  /** The configuration wants it here (core/prefetch-rule.ts). */
  readonly pinned: boolean;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** `BUCKET/KEY` it was last read as. */
  readonly image: string;
  readonly usedAtMs: number;
  readonly inUse: boolean;
}

/** What a rule of the configuration has brought here. */
export interface PrefetchedImage {
  /** `BUCKET/KEY`. */
  readonly image: string;
  readonly sha256: string;
  readonly etag: string;
  readonly version?: string | undefined;
  readonly sizeBytes: number;
  /** Unix time in ms. */
  readonly atMs: number;
}

/** Where that is written down. */
export interface PrefetchRecords {
  /** Nothing, if there is nothing or it is damaged. */
  read(): Promise<readonly PrefetchedImage[]>;
  /** In place of what was there, as a whole or not at all; STATE_FOLDER_FAILED. */
  write(images: readonly PrefetchedImage[]): Promise<void>;
}

/**
 * How far a fill has come for sure: all that is said here is on stable storage. It may be further; what a
 * later fill does again does no harm.
 */
export interface FillPosition {
  /** Up to here the object is hashed, decoded and written; there the next range begins. */
  readonly objectBytes: number;
  /** SHA-256 of the object up to there, to be gone on with. */
  readonly hashState: string;
  /** Below this place of the volume all holes are zeroed. */
  readonly zeroedToBytes: number;
  /** For progress only. */
  readonly writtenBytes: number;
  readonly zeroedBytes: number;
}

/** A position, and all that must still be so for it to mean anything. */
export interface FillCheckpoint extends FillPosition {
  /** Of the program that wrote the bytes. */
  readonly engine: number;
  readonly volumeUuid: string;
  readonly volumeSizeBytes: number;
  /** `BUCKET/KEY`. */
  readonly image: string;
  readonly etag: string;
  readonly version?: string | undefined;
  readonly objectSizeBytes: number;
  /** Of the image's layout. */
  readonly fingerprint: string;
}

/** Checkpoints of unfinished fills, by fill id; they survive a power cut. */
export interface FillJournals {
  /** Undefined also for one that is damaged or cannot be read. */
  read(fillId: string): Promise<FillCheckpoint | undefined>;
  /** Durable when it resolves; the one before is replaced as a whole or not at all. */
  write(fillId: string, checkpoint: FillCheckpoint): Promise<void>;
  /** Gone for good when it resolves, also after a power cut; STATE_FOLDER_FAILED. */
  remove(fillId: string): Promise<void>;
  /** Removes all others, as far as that works. */
  keepOnly(fillIds: ReadonlySet<string>): Promise<void>;
}

/** The device of a private LV, opened exclusively by the service user. */
export interface VolumeDevice {
  readonly sizeBytes: number;
  /** Writes at a position; any length, any alignment. Resolves when the kernel has taken the bytes. */
  write(bytes: Uint8Array, offsetBytes: number): Promise<void>;
  /** Makes a range read as zeros, whatever an earlier owner left there. */
  zero(offsetBytes: number, lengthBytes: number): Promise<void>;
  /**
   * Fills `target` from a position; any length, any alignment, though only whole blocks in aligned memory come
   * without a copy. What is read is what the disk says, not what this host remembers of it, wherever the
   * kernel gives a way around its page cache. DEVICE_FAILED if not all of it can be read.
   */
  read(target: Uint8Array, offsetBytes: number): Promise<void>;
  /** Resolves when everything written is on stable storage; fails if any write was lost. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface VolumeDevices {
  /** With an encryption: what openLuks() has opened; what is written there is encrypted on its way to the LV. */
  open(vg: string, lv: string, encryption?: Encryption): Promise<VolumeDevice>;
}

/** One row of the ledger: the latest fill for one disk of one domain. */
export interface FillRecord extends PlannedFill {
  /** Times of trying since the request last changed or was retried by hand. */
  readonly attempts: number;
  readonly sha256?: string | undefined;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/**
 * Whether the daemon starts the domain, once, when its volumes are ready: `yes` after a fill whose
 * annotation says start="when-ready"; `if-autostart` after a start was denied while libvirtd took no
 * clients, which is how an autostart at boot looks from the gate, or may have been denied before the daemon ran.
 */
export type StartWish = 'no' | 'yes' | 'if-autostart';

/** An annotated domain, remembered over a restart of the daemon. */
export interface KnownDomain {
  readonly domain: Domain;
  /** `gate`: only the hook has shown us this domain so far (virt-install's first start); else `libvirt`. */
  readonly origin: 'gate' | 'libvirt';
  readonly startWish: StartWish;
  readonly seenAtMs: number;
  /** Absent: not proven. */
  readonly lastEnd?: LastEnd | undefined;
  /** Since when it is gone, its end proven: what its annotation wants deleted is going to be. */
  readonly goneAtMs?: number | undefined;
}

/** A job as it is written down. While it has not ended, how far it is stands in the row of its fill. */
export interface JobRecord {
  /** UUID; its volume belongs to ownerOfJob(id). */
  readonly id: string;
  readonly request: JobRequest;
  readonly location: PooledLocation;
  /** See AuditEvent.who. */
  readonly by: string;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  readonly end?: JobEnd | undefined;
}

/** How a job has ended; the row of its fill is gone by then, or is that of the domain that has claimed the volume. */
export interface JobEnd {
  readonly state: Extract<Job['state'], 'completed' | 'failed' | 'cancelled'>;
  readonly fillId?: string | undefined;
  readonly sha256?: string | undefined;
  readonly problem?: Problem | undefined;
  /** Of the image object; 0 where nothing is known any more. */
  readonly bytesDone: number;
  readonly bytesTotal?: number | undefined;
  readonly cacheHit?: boolean | undefined;
}

export interface JobQuery {
  /** `none`: those that have not ended. */
  readonly end?: JobEnd['state'] | 'none' | undefined;
  /** Of the logical volume. */
  readonly lv?: string | undefined;
  /** Only those that are older than this one. */
  readonly before?: Pick<JobRecord, 'id' | 'createdAtMs'> | undefined;
  readonly limit: number;
}

export interface JobCount {
  readonly end: NonNullable<JobQuery['end']>;
  /** The error code of those that have failed, else empty. */
  readonly reason: string;
  readonly count: number;
}

/** Of jobs that have ended, only so many of the newest are remembered. */
export const ENDED_JOBS_MAX = 10_000;

/** Jobs in the ledger; what is asked takes the same time however many others there are. */
export interface JobRows {
  jobOf(id: string): JobRecord | undefined;
  /** Newest first. */
  jobs(query: JobQuery): readonly JobRecord[];
  /** Those that have not ended, oldest first. */
  unfinishedJobs(): readonly JobRecord[];
  /** How many there are of each kind; takes some milliseconds where thousands have failed. */
  jobCounts(): readonly JobCount[];
  putJob(record: JobRecord): void;
  removeJob(id: string): void;
}

/** What is done to the keys of published volumes, by the fill of the seal: one row for each, the latest. */
export interface KeyChangeRows {
  keyChangeOf(fillId: string): KeyChange | undefined;
  unfinishedKeyChanges(): readonly KeyChange[];
  putKeyChange(change: KeyChange): void;
  removeKeyChange(fillId: string): void;
}

/** Why a golden volume is removed: asked for; another one holds the same; beyond its pool's budget; not what it was. */
export type GoldenEnd = 'asked' | 'useless' | 'over-budget' | 'damaged';

/** What is remembered of a golden volume beside its tags. */
export interface GoldenRecord {
  /** In its seal. */
  readonly fillId: string;
  /** The same as in its seal, or the row is about something else. */
  readonly sha256: string;
  /** Unix time in ms of its last fill or clone; or when it was first seen, if that is not known. */
  readonly usedAtMs: number;
  /** Written before it is removed. */
  readonly leaving?: GoldenEnd | undefined;
  /** What the bytes of its image were compared with besides their SHA-256: provenBy() in core/proof.ts. */
  readonly provenBy: readonly string[];
}

/** Golden volumes in the ledger. */
export interface GoldenRows {
  goldens(): readonly GoldenRecord[];
  putGolden(record: GoldenRecord): void;
  removeGolden(fillId: string): void;
}

/** The SQLite ledger: intent before effect, and history. Synchronous; every write is durable on return. */
export interface Ledger extends JobRows, KeyChangeRows, GoldenRows {
  fills(): readonly FillRecord[];
  /** Those of one domain; like the next, the time it takes does not grow with the number of others. */
  fillsOf(domainUuid: string): readonly FillRecord[];
  /** Those of all domains for one volume. */
  fillsAt(location: Pick<VolumeLocation, 'vg' | 'lv'>): readonly FillRecord[];
  fillOf(domainUuid: string, target: string): FillRecord | undefined;
  /** Inserts, or replaces the row of the same domain and disk. */
  putFill(record: FillRecord): void;
  removeFill(domainUuid: string, target: string): void;
  domains(): readonly KnownDomain[];
  domainOf(uuid: string): KnownDomain | undefined;
  putDomain(known: KnownDomain): void;
  removeDomain(uuid: string): void;
}

/** In which boot of the machine this program ran last. */
export interface Boots {
  /** As the kernel names it; undefined: it has not run yet, or its ledger was lost. */
  lastBoot(): string | undefined;
  putBoot(id: string): void;
}

/** Whether this host is frozen for an incident; asked for each decision, and never remembered. */
export interface Freeze {
  frozen(): Frozen | undefined;
}

/** Time, so that tests can own it. */
export interface Clock {
  /** Unix time in ms, for records. */
  nowMs(): number;
  /** Milliseconds that only ever go forward, for durations. */
  monotonicMs(): number;
  sleep(durationMs: number, signal?: AbortSignal): Promise<void>;
}

/** The part of pino that verbs use. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Log;
}

/** The hook operations at which a start can still be refused (https://libvirt.org/hooks.html). */
export type GateOperation = 'prepare' | 'migrate' | 'restore';

/** The gate's answer to the hook. */
export interface AdmitAnswer {
  readonly allowed: boolean;
  /** Of the domain that was asked for, once its XML has been read. */
  readonly domainUuid?: string | undefined;
  /** Why not, for whoever pressed start. */
  readonly problems: readonly Problem[];
}

/**
 * What the control socket offers to `lvp`; the socket's adapter calls it, the daemon implements it. An
 * unknown domain is DOMAIN_NOT_FOUND, an unknown disk DISK_NOT_FOUND.
 */
export interface ControlVerbs {
  /** Every annotated domain, by name. */
  domains(): Promise<readonly DomainStatus[]>;
  domain(nameOrUuid: string): Promise<DomainStatus>;
  /** Of a domain or, without one, of the first DISKS_OF_MAX that libvirt has; annotated or not. */
  disks(nameOrUuid?: string): Promise<DomainDisks>;
  /** What the planner would do now, and why; changes nothing. */
  explain(nameOrUuid: string): Promise<Explanation>;
  /** Adds or replaces one `<vp:volume>`, keeping the others; with `dryRun` only shows the element. */
  annotate(nameOrUuid: string, request: AnnotateRequest): Promise<AnnotateResult>;
  /** Stops the fills of all disks or of one, until retried. */
  cancel(nameOrUuid: string, target?: string): Promise<DomainStatus>;
  /** Tries failed and cancelled fills of all disks or of one again, at once. */
  retry(nameOrUuid: string, target?: string): Promise<DomainStatus>;
  /** Begins to make a published volume of a stopped domain again; with `dryRun` only says what would be lost. */
  reprovision(nameOrUuid: string, request: ReprovisionRequest): Promise<ReprovisionResult>;
  /** Begins the fills of a domain that libvirt does not know yet, from its XML. */
  provision(xml: string): Promise<DomainStatus>;
  /** What another host has to know before the domain can be migrated there with its storage. */
  handover(nameOrUuid: string): Promise<Handover>;
  /** Looks at everything again now, as the timer does; says whether the host is frozen. */
  look(): Promise<LookResult>;
  /** Sets volumes aside here for what another host hands over. */
  receive(handover: Handover): Promise<ReceiveResult>;
}

/** What the control socket offers about the keys of volumes: to `lvp key rotate` and `lvp incident crypto-erase`. */
export interface KeyVerbs {
  /** Replaces the key of a volume of a stopped domain; can be repeated, after whatever has cut it off. */
  rotate(request: RotateKeyRequest): Promise<RotateKeyResult>;
  /** Makes an encrypted volume that nobody has open unreadable for ever. */
  erase(request: CryptoEraseRequest): Promise<CryptoEraseResult>;
}

/** What the control socket offers to `lvp gc`. */
export interface GarbageVerbs {
  /** What is left over; repairs what is safe to repair unless it is only to be looked at. */
  collect(request: GarbageRequest): Promise<GarbageReport>;
}

/** What the control socket offers to `lvp image`. A caller that goes away aborts the signal. */
export interface ImageVerbs {
  /** What is in the cache. */
  images(): Promise<CachedImages>;
  /** What is in the buckets; STORE_ACCESS_DENIED where the store does not say. */
  stored(): Promise<StoredImages>;
  /** What an image is, from its metadata; writes nothing. */
  inspect(request: ImageRequest, signal: AbortSignal): Promise<ImageFacts>;
  /** Reads all of it from the store and compares the digest. */
  verify(
    request: ImageRequest,
    signal: AbortSignal,
    onProgress: (bytesDone: number, bytesTotal: number) => void,
  ): Promise<ReadImage>;
  /** The same, and puts it into the cache; reads it from there if it is there already. */
  prefetch(
    request: PrefetchRequest,
    signal: AbortSignal,
    onProgress: (bytesDone: number, bytesTotal: number) => void,
  ): Promise<ReadImage>;
  /**
   * Removes these, each a `BUCKET/KEY` or the beginning of a SHA-256; nothing if any of them is not there, in use or
   * pinned.
   */
  rm(images: readonly string[]): Promise<RmResult>;
  /** Removes from the cache what is beyond its size, or all that is neither in use nor pinned. */
  gc(all: boolean): Promise<GcResult>;
}

/** What is asked for without a domain. An unknown job is JOB_NOT_FOUND. */
export interface JobVerbs {
  /** Writes the job down and begins it, or says at once why it cannot be begun. */
  start(request: JobRequest, by: string): Promise<Job>;
  job(id: string): Promise<Job>;
  jobs(filter: JobFilter): Promise<Jobs>;
  /** Ends a job that waits or runs; nothing of it is left when this resolves. VOLUME_STATE if it has ended already. */
  cancel(id: string): Promise<Job>;
  /** Begins a failed or cancelled job again, under the same id. */
  retry(id: string): Promise<Job>;
}

/** Where it is written down who did what. Must not throw, and not keep its caller waiting. */
export interface AuditTrail {
  record(event: Omit<AuditEvent, 'at'>): void;
}

/** Where audit events stay, the oldest of them not for ever. */
export interface AuditStore {
  /** All of them or, if it throws, none. */
  append(events: readonly AuditEvent[]): void;
  /** `query.domain` is a UUID here, of a domain or of a job. */
  find(query: AuditQuery): AuditEvents;
}

/** What the control socket offers to `lvp audit`. */
export interface AuditVerbs {
  /** DOMAIN_NOT_FOUND if nobody has heard of a domain of that name. */
  audit(query: AuditQuery): Promise<AuditEvents>;
}

/** What is left in a volume group, all in bytes: of what is free, fills were promised some, and some is to stay free. */
export interface GroupSpace extends Pick<Headroom, 'freeBytes' | 'reservedBytes' | 'keepFreeBytes'> {
  readonly vg: string;
  readonly sizeBytes: number;
}

/** How much more this host could take. */
export interface SpaceVerbs {
  /** Of each configured volume group, by name. */
  space(): Promise<readonly GroupSpace[]>;
}

/** How a fill that had begun has ended; `stopped` with the daemon, and it goes on with the next one. */
export type FillEnd =
  | { readonly how: 'published' | 'stopped' }
  | { readonly how: 'failed' | 'cancelled'; readonly problem: Problem };

/** Told of every fill that has its turn. Must not throw, and not keep its caller waiting. */
export interface FillWatch {
  /** `writes`: it brings bytes, and does not only publish or claim what is there. */
  begun(record: FillRecord, writes: boolean): void;
  /** It has entered this phase; `resolving` comes with the beginning. */
  entered(record: FillRecord, phase: 'filling' | 'verifying' | 'publishing'): void;
  ended(record: FillRecord, writes: boolean, end: FillEnd): void;
}

/** What has become of golden volumes, for whoever counts. Must not throw. */
export interface GoldenWatch {
  /** A volume of a guest was made of one. */
  cloned(): void;
  made(): void;
  dropped(why: GoldenEnd): void;
  /** One was there and is gone, and it was not us. */
  missed(): void;
  checked(result: 'sound' | 'damaged' | 'failed'): void;
}

/** Told of keys on their way to guests. Must not throw. */
export interface KeyWatch {
  readonly handedOver: (result: 'done' | 'refused') => void;
  /** A key that a guest runs with may not be read by this host any more. */
  readonly revoked: () => void;
}

/** All metrics as they are now, in words that Prometheus reads. */
export interface MetricsText {
  readonly contentType: string;
  render(): Promise<string>;
}

/** Told of each image that was to be brought here ahead of time. Must not throw. */
export interface PrefetchWatch {
  readonly ended: (result: 'done' | 'failed') => void;
}

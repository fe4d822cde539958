/** What the daemon remembers over its own end. */
import type { Problem } from '../../core/errors.ts';
import type { KeyChange } from '../../core/key/key-change.ts';
import type { LastEnd } from '../../core/plan/last-end.ts';
import type { PlannedFill } from '../../core/plan/planned-fill.ts';
import type { Job, JobRequest } from '../../core/protocol/job-protocol.ts';
import type { Domain, PooledLocation, VolumeLocation } from '../../core/request.ts';

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
  /** What the bytes of its image were compared with besides their SHA-256: provenBy() in core/images/proof.ts. */
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

/** What may be asked of the daemon, over its sockets and HTTP. */
import type { Problem } from '../../core/errors.ts';
import type { Handover, ReceiveResult } from '../../core/handover.ts';
import type { AuditEvents, AuditQuery } from '../../core/protocol/audit-protocol.ts';
import type {
  AnnotateRequest,
  AnnotateResult,
  DomainDisks,
  DomainStatus,
  Explanation,
  LookResult,
  ReprovisionRequest,
  ReprovisionResult,
} from '../../core/protocol/control-protocol.ts';
import type { GarbageReport, GarbageRequest } from '../../core/protocol/garbage-protocol.ts';
import type {
  CachedImages,
  GcResult,
  ImageFacts,
  ImageRequest,
  PrefetchRequest,
  ReadImage,
  RmResult,
  StoredImages,
} from '../../core/protocol/image-protocol.ts';
import type { Job, JobFilter, JobRequest, Jobs } from '../../core/protocol/job-protocol.ts';
import type {
  CryptoEraseRequest,
  CryptoEraseResult,
  RotateKeyRequest,
  RotateKeyResult,
} from '../../core/protocol/key-protocol.ts';
import type { Headroom } from '../../core/volume/headroom.ts';

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

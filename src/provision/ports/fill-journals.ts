/** How far a fill has come, for the daemon that goes on with it. */
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

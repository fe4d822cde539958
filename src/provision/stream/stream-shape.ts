/** Into what pieces the bytes of a fill are cut, and how many of them are in memory at once. */
const MIB = 1024 * 1024;

export interface StreamShape {
  /** One request to the store, one piece of work for the hasher; a multiple of 4096. */
  readonly rangeBytes: number;
  /** Ranges in memory: on their way, being hashed or being written. */
  readonly rangeBuffers: number;
  readonly rangesInFlight: number;
  /** So much of an object between two checkpoints. */
  readonly checkpointBytes: number;
  /** No more than this of an object is ever fetched twice, its tables aside. Smaller ones are not journaled. */
  readonly fetchedTwiceMaxBytes: number;
}

/** What hosts use; the simulation of faults has smaller pieces, for the same paths. */
export const STREAM_SHAPE: StreamShape = {
  rangeBytes: 4 * MIB,
  rangeBuffers: 5,
  rangesInFlight: 3,
  checkpointBytes: 16 * MIB,
  fetchedTwiceMaxBytes: 64 * MIB,
};

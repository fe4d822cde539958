/**
 * What the rest of the program knows of an image: how large the disk inside is, which parts of it the
 * object holds, and a decoder that turns the object's bytes, front to back, into extents of that disk.
 *
 * Everything is refused while the layout is read, before the first byte is written anywhere; the decoder
 * can then only write inside [0, virtualSizeBytes).
 */
import type { ImageFormat } from '../request.ts';

export interface ByteRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** Reads exactly that range of the object; the bytes belong to the caller. */
export type ReadRange = (offsetBytes: number, lengthBytes: number) => Promise<Uint8Array>;

export interface ImageLimits {
  /** Largest disk accepted, from policy or from the volume that is there. */
  readonly virtualSizeMaxBytes: number;
}

/** Bytes of the disk as they stand in the object. They are a view of what was pushed, not a copy. */
export interface DataExtent {
  readonly kind: 'data';
  /** Place on the disk. */
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/** One compressed cluster; decompressCluster() makes `lengthBytes` bytes of the disk out of it. */
export interface CompressedExtent {
  readonly kind: 'compressed';
  readonly offsetBytes: number;
  /** Less than `clusterBytes` only for the disk's last cluster. */
  readonly lengthBytes: number;
  readonly clusterBytes: number;
  readonly compression: Compression;
  /** Place in the object, for messages. */
  readonly objectOffsetBytes: number;
  readonly bytes: Uint8Array;
}

/** A part of the disk that the object holds as nothing but zeros: there are quicker ways than writing them. */
export interface ZeroExtent {
  readonly kind: 'zero';
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export type Compression = 'zlib' | 'zstd';
export type Extent = DataExtent | CompressedExtent | ZeroExtent;

export interface ImageDecoder {
  /**
   * Where another decoder of the same metadata may begin: everything before has been yielded and compared.
   * At most a few MiB behind what was pushed. Absent where a decoder can only begin at the first byte.
   */
  readonly safeBytes?: number;
  /**
   * Takes the next bytes of the object and yields what they mean. The iterable must be used up before the
   * next push; extents may refer to `bytes`, so these must stay as they are until the extents are written.
   */
  push(bytes: Uint8Array): Iterable<Extent>;
  /**
   * To be called after the last byte. IMAGE_TRUNCATED if some are missing; IMAGE_CHANGED if the metadata
   * seen in the stream is not what the layout was read from.
   */
  finish(): void;
}

export interface ImageLayout {
  readonly format: ImageFormat;
  readonly objectSizeBytes: number;
  readonly virtualSizeBytes: number;
  /** The ranges of a volume that no extent covers, in order, coalesced, up to the volume's end. */
  holes(volumeSizeBytes: number): Iterable<ByteRange>;
  /**
   * Digest of all metadata that was parsed. Two layouts with one fingerprint give the same decoders. Absent
   * where a decoder can only begin at the first byte.
   */
  readonly fingerprint?: string;
  /** A new decoder at the object's first byte, or, given a fingerprint, where an earlier one was safe. */
  decoder(fromBytes?: number): ImageDecoder;
}

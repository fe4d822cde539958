/**
 * Whether something fits into a place from which space is allocated in whole units: a volume group with its
 * extents, and likewise the data or the metadata of a thin pool with its chunks or blocks. All the arithmetic
 * is here; who holds what is in provision/reservations.ts.
 */
import { approximateSize } from '../size.ts';

/** A place, as LVM reports it. */
export interface Space {
  readonly sizeBytes: number;
  readonly freeBytes: number;
  /** Extent, chunk or block: what is allocated is a multiple of it. */
  readonly unitBytes: number;
}

/** What is to stay free in a place: so many bytes, or so much of its size, from 0 to 100 percent. */
export type KeepFree = { readonly bytes: number } | { readonly percent: number };

export const KEEP_NOTHING_FREE: KeepFree = { bytes: 0 };

/** All numbers of one question, in bytes; each one but `freeBytes` is a multiple of the unit. */
export interface Headroom {
  readonly fits: boolean;
  readonly freeBytes: number;
  /** What others were promised and have not taken yet. */
  readonly reservedBytes: number;
  readonly keepFreeBytes: number;
  readonly wantedBytes: number;
}

/** Whether so many bytes more fit, beside what others were promised. */
export function headroomOf(
  space: Space,
  keepFree: KeepFree,
  reservedBytes: readonly number[],
  wantedBytes: number,
): Headroom {
  const numbers = {
    freeBytes: space.freeBytes,
    // Each takes whole units of its own.
    reservedBytes: reservedBytes.reduce((sum, bytes) => sum + inUnits(bytes, space.unitBytes), 0),
    keepFreeBytes: inUnits(keptBytes(space, keepFree), space.unitBytes),
    wantedBytes: inUnits(wantedBytes, space.unitBytes),
  };
  const { freeBytes, keepFreeBytes } = numbers;
  return { ...numbers, fits: numbers.reservedBytes + keepFreeBytes + numbers.wantedBytes <= freeBytes };
}

function keptBytes({ sizeBytes }: Space, keepFree: KeepFree): number {
  return 'bytes' in keepFree ? keepFree.bytes : (sizeBytes / 100) * keepFree.percent;
}

function inUnits(bytes: number, unitBytes: number): number {
  return Math.ceil(bytes / unitBytes) * unitBytes;
}

/** `12884901888 bytes (12.0 GiB)`: exact for programs and doubts, short for people. */
export function describeHeadroom({ freeBytes, reservedBytes, keepFreeBytes, wantedBytes }: Headroom): string {
  const shown = (bytes: number) => `${bytes} bytes (${approximateSize(bytes)})`;
  return (
    `wanted are ${shown(wantedBytes)}; free are ${shown(freeBytes)}, ` +
    `of which ${shown(reservedBytes)} are reserved for other fills and ${shown(keepFreeBytes)} are to stay free`
  );
}

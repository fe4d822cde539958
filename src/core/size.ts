/**
 * Sizes as people write them, `20GiB`. Units are binary and written exactly so: `KiB MiB GiB TiB`, or the
 * single letters of LVM and libvirt, `K M G T`, which both read as binary; no unit, or `B`, means bytes.
 * `KB MB GB TB` are refused, because libvirt reads them as powers of 1000 and LVM as powers of 1024.
 */
const UNIT_BYTES: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  K: 2 ** 10,
  KiB: 2 ** 10,
  M: 2 ** 20,
  MiB: 2 ** 20,
  G: 2 ** 30,
  GiB: 2 ** 30,
  T: 2 ** 40,
  TiB: 2 ** 40,
};

export const SIZE_REMEDY =
  'Write a whole number and a unit, KiB, MiB, GiB or TiB (or K, M, G, T), such as 20GiB; without a unit it counts bytes.';

/** The bytes of a positive size, or undefined if the text is not one. */
export function parseSize(text: string): number | undefined {
  const [, digits, unit] = /^([1-9][0-9]{0,15})(B|K|M|G|T|KiB|MiB|GiB|TiB|)$/.exec(text) ?? [];
  if (digits === undefined || unit === undefined) return undefined;
  const sizeBytes = Number(digits) * (UNIT_BYTES[unit] ?? NaN);
  return Number.isSafeInteger(sizeBytes) ? sizeBytes : undefined;
}

/** The shortest exact way to write a size; parseSize reads it back to the same number. */
export function formatSize(sizeBytes: number): string {
  const unit = ['TiB', 'GiB', 'MiB', 'KiB'].find((name) => sizeBytes % (UNIT_BYTES[name] ?? NaN) === 0);
  return unit === undefined || sizeBytes === 0
    ? `${sizeBytes}B`
    : `${sizeBytes / (UNIT_BYTES[unit] ?? NaN)}${unit}`;
}

/** A size for people, three digits at the most behind which nobody looks: `1.2 GiB`. */
export function approximateSize(sizeBytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(Math.floor(Math.log2(Math.max(sizeBytes, 1)) / 10), units.length - 1);
  const value = sizeBytes / 2 ** (10 * power);
  return `${value.toFixed(power === 0 || value >= 100 ? 0 : 1)} ${units[power] ?? 'B'}`;
}

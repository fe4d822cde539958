/**
 * The volumes of a volume group with one physical volume, read from that one's bytes without LVM: a disk after a
 * power cut that never was cannot be shown to LVM as easily. lvm2/doc and lib/format_text/layout.h.
 */
import { crc32 } from 'node:zlib';

const SECTOR_BYTES = 512;
const MDA_HEADER_BYTES = 512;
const MDA_MAGIC = ' LVM2 x[5A%r0N*>';
/** What LVM begins its CRC-32 with; zlib inverts before and after. */
const CRC_INITIAL = 0xf597a6cf;
const INVERT = 0xffffffff;

export interface VolumeOnDisk {
  readonly name: string;
  readonly tags: readonly string[];
  /** Where its bytes are, in the volume's order. */
  readonly extents: readonly { readonly offsetBytes: number; readonly lengthBytes: number }[];
}

/**
 * By its committed metadata; undefined where LVM finds none it believes. An Error for what LVM would believe and
 * this reader does not understand.
 */
export function volumesOnDisk(disk: Buffer): VolumeOnDisk[] | undefined {
  const text = committedText(disk);
  return text === undefined ? undefined : volumesOf(parseMetadata(text));
}

export function contentOnDisk(disk: Buffer, volume: VolumeOnDisk): Buffer {
  return Buffer.concat(
    volume.extents.map(({ offsetBytes, lengthBytes }) =>
      disk.subarray(offsetBytes, offsetBytes + lengthBytes),
    ),
  );
}

function committedText(disk: Buffer): string | undefined {
  const area = metadataArea(disk);
  if (area?.toString('latin1', 4, 20) !== MDA_MAGIC) return undefined;
  if (lvmCrc(area.subarray(4, MDA_HEADER_BYTES)) !== area.readUInt32LE(0)) return undefined;
  const offsetBytes = Number(area.readBigUInt64LE(40));
  const lengthBytes = Number(area.readBigUInt64LE(48));
  if (offsetBytes === 0) return undefined;
  // The area is a ring behind its header.
  const first = area.subarray(offsetBytes, offsetBytes + lengthBytes);
  const rest = area.subarray(MDA_HEADER_BYTES, MDA_HEADER_BYTES + lengthBytes - first.length);
  const text = Buffer.concat([first, rest]);
  return lvmCrc(text) === area.readUInt32LE(56) ? text.toString('latin1').replace(/\0.*$/s, '') : undefined;
}

/** From its header on; undefined without a label. */
function metadataArea(disk: Buffer): Buffer | undefined {
  const label = [0, 1, 2, 3]
    .map((sector) => disk.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES))
    .find((sector) => sector.toString('latin1', 0, 8) === 'LABELONE');
  if (label === undefined) return undefined;
  if (lvmCrc(label.subarray(20)) !== label.readUInt32LE(16)) return undefined;
  // Behind UUID and size stand the data areas, an empty one, and the metadata areas.
  let at = label.readUInt32LE(20) + 40;
  while (label.readBigUInt64LE(at) !== 0n) at += 16;
  const begin = Number(label.readBigUInt64LE(at + 16));
  const lengthBytes = Number(label.readBigUInt64LE(at + 24));
  return begin === 0 ? undefined : disk.subarray(begin, begin + lengthBytes);
}

/** Of lvm2/lib/misc/crc.c. */
export function lvmCrc(bytes: Uint8Array): number {
  return (crc32(bytes, (CRC_INITIAL ^ INVERT) >>> 0) ^ INVERT) >>> 0;
}

function volumesOf(metadata: Section): VolumeOnDisk[] {
  const [group] = [...metadata.values()].filter((value) => value instanceof Map);
  if (group === undefined) throw new Error('metadata without a volume group');
  const physical = [...section(group, 'physical_volumes').entries()];
  const [[pvName, pv] = []] = physical;
  if (physical.length !== 1 || pvName === undefined || !(pv instanceof Map)) {
    throw new Error('more than one physical volume');
  }
  const extentBytes = number(group, 'extent_size') * SECTOR_BYTES;
  const beginBytes = number(pv, 'pe_start') * SECTOR_BYTES;
  return [...(group.get('logical_volumes') instanceof Map ? section(group, 'logical_volumes') : [])].map(
    ([name, volume]) => {
      if (!(volume instanceof Map)) throw new Error(`${name} is no section`);
      const extents = Array.from({ length: number(volume, 'segment_count') }, (_, index) => {
        const segment = section(volume, `segment${index + 1}`);
        const [device, extent] = list(segment, 'stripes');
        if (segment.get('type') !== 'striped' || device !== pvName || typeof extent !== 'number') {
          throw new Error(`${name} is not linear`);
        }
        const lengthBytes = number(segment, 'extent_count') * extentBytes;
        return { offsetBytes: beginBytes + extent * extentBytes, lengthBytes };
      });
      const tags = volume.has('tags') ? list(volume, 'tags').map(String) : [];
      return { name, tags, extents };
    },
  );
}

type Value = string | number | readonly (string | number)[];
type Section = Map<string, Value | Section>;

function section(within: Section, key: string): Section {
  const value = within.get(key);
  if (value instanceof Map) return value;
  throw new Error(`no section ${key}`);
}

function number(within: Section, key: string): number {
  const value = within.get(key);
  if (typeof value === 'number') return value;
  throw new Error(`no number ${key}`);
}

function list(within: Section, key: string): readonly (string | number)[] {
  const value = within.get(key);
  if (Array.isArray(value)) return value as readonly (string | number)[];
  throw new Error(`no list ${key}`);
}

/** `key = value`, `key { … }`, `[ … ]`, and comments: lvm.conf(5). */
function parseMetadata(text: string): Section {
  const words = /"(?:[^"\\]|\\.)*"|#.*|[{}[\]=,]|[^\s{}[\]=,"#]+/g;
  const tokens = [...text.matchAll(words)].map(([token]) => token).filter((token) => !token.startsWith('#'));
  let at = 0;
  const next = (): string => tokens[at++] ?? '';
  const scalar = (token: string): string | number =>
    token.startsWith('"') ? token.slice(1, -1).replaceAll(/\\(.)/g, '$1') : Number(token);
  const value = (): Value => {
    const token = next();
    if (token !== '[') return scalar(token);
    const items: (string | number)[] = [];
    for (let item = next(); item !== ']' && item !== ''; item = next())
      if (item !== ',') items.push(scalar(item));
    return items;
  };
  const parseSection = (): Section => {
    const found: Section = new Map();
    for (let key = next(); key !== '}' && key !== ''; key = next()) {
      const sign = next();
      if (sign !== '{' && sign !== '=') throw new Error(`${key} is followed by "${sign}"`);
      found.set(key, sign === '{' ? parseSection() : value());
    }
    return found;
  };
  return parseSection();
}

/**
 * The LUKS1 header, read from its bytes: what is on a volume must be exactly what we put there, whatever a program would
 * make of it. Source: LUKS On-Disk Format Specification, version 1.2.3, figures 1 to 5; all numbers are big-endian.
 */
import { LUKS_HEADER_BYTES } from '../core/volume/volume.ts';

export const SECTOR_BYTES = 512;
/** Of the header itself; the key material of the slots follows it. */
export const PHDR_BYTES = 592;
const SLOTS = 8;
const SLOTS_AT = 208;
const SLOT_BYTES = 48;
const SLOT_ENABLED = 0x00ac71f3;
const SLOT_DISABLED = 0x0000dead;

/** What cryptsetup is told to make, and what a header must say. */
export const LUKS_SHAPE = { cipher: 'aes', mode: 'xts-plain64', hash: 'sha256', keyBits: 512 } as const;
export const PAYLOAD_SECTORS = LUKS_HEADER_BYTES / SECTOR_BYTES;

export interface LuksHeader {
  /** The slots that hold a key, in their order. */
  readonly slots: readonly number[];
}

/** The header, or in words why it is none of ours. */
export function readLuksHeader(bytes: Buffer): LuksHeader | string {
  if (bytes.length < PHDR_BYTES || !bytes.subarray(0, 6).equals(Buffer.from('LUKS\xba\xbe', 'latin1'))) {
    return 'no LUKS header is on it';
  }
  const version = bytes.readUInt16BE(6);
  if (version !== 1) return `its LUKS header is of version ${version}`;
  const said = {
    cipher: textAt(bytes, 8),
    mode: textAt(bytes, 40),
    hash: textAt(bytes, 72),
    keyBits: bytes.readUInt32BE(108) * 8,
    payloadSectors: bytes.readUInt32BE(104),
  };
  const wanted = { ...LUKS_SHAPE, payloadSectors: PAYLOAD_SECTORS };
  for (const name of Object.keys(wanted) as (keyof typeof wanted)[]) {
    if (said[name] !== wanted[name]) return `its LUKS header says ${name} ${said[name]}, not ${wanted[name]}`;
  }
  const slots: number[] = [];
  for (let slot = 0; slot < SLOTS; slot += 1) {
    const state = bytes.readUInt32BE(SLOTS_AT + slot * SLOT_BYTES);
    if (state === SLOT_ENABLED) slots.push(slot);
    else if (state !== SLOT_DISABLED) return `the slot ${slot} of its LUKS header is neither used nor free`;
  }
  return { slots };
}

/** What it says is another one's word: only what is plain text is repeated. */
function textAt(bytes: Buffer, at: number): string {
  const field = bytes.subarray(at, at + 32);
  const end = field.indexOf(0);
  const text = field.toString('latin1', 0, end < 0 ? field.length : end);
  return /^[a-z0-9:_-]{1,32}$/.test(text) ? text : 'something unreadable';
}

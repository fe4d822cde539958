/**
 * A disk whose first bytes look like an image format is refused, be it a raw image or the disk inside a
 * qcow2 one: a program that probes (QEMU without a stated format, and everything built on it) would take
 * the volume for that format and follow the file names in it (CVE-2024-40767, CVE-2026-24708). The list is
 * that of the bdrv_probe functions in QEMU's block/.
 */
import { forbidden } from './refusal.ts';

/** As much of the object's beginning as the checks want to see. */
export const PROBE_BYTES = 2048;
/** As much of the object's end: disk images with a trailer instead of a header. */
export const TRAILER_BYTES = 512;

interface Magic {
  readonly format: string;
  readonly offsetBytes: number;
  readonly text: string;
}

const HEADERS: readonly Magic[] = [
  { format: 'qcow or qcow2', offsetBytes: 0, text: 'QFI\xfb' },
  { format: 'qed', offsetBytes: 0, text: 'QED\0' },
  { format: 'vmdk', offsetBytes: 0, text: 'KDMV' },
  { format: 'vmdk', offsetBytes: 0, text: 'COWD' },
  { format: 'vmdk (SE sparse)', offsetBytes: 0, text: '\xbe\xba\xfe\xca' },
  { format: 'vhdx', offsetBytes: 0, text: 'vhdxfile' },
  { format: 'vhd', offsetBytes: 0, text: 'conectix' },
  { format: 'vdi', offsetBytes: 64, text: '\x7f\x10\xda\xbe' },
  { format: 'luks', offsetBytes: 0, text: 'LUKS\xba\xbe' },
  { format: 'parallels', offsetBytes: 0, text: 'WithoutFreeSpace' },
  { format: 'parallels', offsetBytes: 0, text: 'WithouFreSpacExt' },
  { format: 'bochs', offsetBytes: 0, text: 'Bochs Virtual HD Image' },
  { format: 'cloop', offsetBytes: 0, text: '#!/bin/sh\n#V2.0 Format\nmodprobe cloop' },
  { format: 'dmg', offsetBytes: 0, text: 'koly' },
];

const TRAILERS: readonly Magic[] = [
  { format: 'vhd', offsetBytes: 0, text: 'conectix' },
  { format: 'dmg', offsetBytes: 0, text: 'koly' },
];

/**
 * QEMU takes a text for a vmdk descriptor when a `version=` line follows only comments and blank lines. Line by
 * line: an expression for all of it takes exponential time on a disk that begins with two thousand tabs.
 */
function isVmdkDescriptor(text: string): boolean {
  if (/^# *Disk *DescriptorFile/i.test(text)) return true;
  const first = text.split('\n').find((line) => line.trim() !== '' && !line.startsWith('#'));
  return first?.trimStart().toLowerCase().startsWith('version=') === true;
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

function match(text: string, magics: readonly Magic[]): Magic | undefined {
  return magics.find((magic) => text.startsWith(magic.text, magic.offsetBytes));
}

/** What the bytes that are looked at belong to, and what to do about it. */
export interface Disk {
  readonly name: string;
  readonly hint: string;
}

const RAW_IMAGE: Disk = {
  name: 'a raw image',
  hint: 'The annotation says format="raw": state the right format, or convert the image with "qemu-img convert -O raw" before the upload.',
};

export const DISK_INSIDE: Disk = {
  name: 'the disk inside the image',
  hint: 'It is an image within an image: upload the inner one. If the guest writes such a header itself, put a partition table before it.',
};

/** Throws if a disk begins or ends like an image of another format. */
export function refuseForeignMagic(
  head: Uint8Array,
  tail: Uint8Array,
  tailOffsetBytes: number,
  disk: Disk = RAW_IMAGE,
): void {
  const text = latin1(head);
  const header = match(text, HEADERS) ?? (isVmdkDescriptor(text) ? VMDK_DESCRIPTOR : undefined);
  const trailer = header === undefined ? match(latin1(tail), TRAILERS) : undefined;
  const found = header ?? trailer;
  if (found === undefined) return;
  throw forbidden({
    check: `the ${header === undefined ? 'trailer' : 'magic'} of ${disk.name}`,
    offsetBytes: header === undefined ? tailOffsetBytes : found.offsetBytes,
    found: `that of a ${found.format} image`,
    allowed: 'none of another image format',
    hint: disk.hint,
  });
}

const VMDK_DESCRIPTOR: Magic = { format: 'vmdk (text descriptor)', offsetBytes: 0, text: '' };

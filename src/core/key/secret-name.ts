/** The name and the XML of the libvirt secret that opens one volume. */
import { createHash } from 'node:crypto';
import { escapeAttribute } from '../xml/xml.ts';

/** Ours alone: the namespace of the UUIDs below. */
const NAMESPACE = '8c1f2b7a-5d0e-4c39-9a64-2f1b7c9d3e50';

/** Together with its UUID it says of a secret that it is ours. */
export const SECRET_DESCRIPTION = 'libvirt-volume-provisioner';

/** What helps when somebody has defined one of ours anew: libvirt may have had its value on disk. */
export const CHANGED_SECRET_HINT =
  'See who may define secrets here (members of the group libvirt), and replace the key: lvp key rotate.';

/** The path of a volume, which its secret's usage and `<secret usage=…>` of the disk say. */
export function secretPath({ vg, lv }: { readonly vg: string; readonly lv: string }): string {
  return `/dev/${vg}/${lv}`;
}

/**
 * The UUID of the secret for the volume of that path: always the same, for libvirt allows one for each usage. Name-based,
 * version 5 of RFC 9562.
 */
export function secretUuid(path: string): string {
  const hash = createHash('sha1')
    .update(Buffer.from(NAMESPACE.replaceAll('-', ''), 'hex'))
    .update(path)
    .digest();
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x50, 6);
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = hash.subarray(0, 16).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/**
 * For libvirt's memory alone (`ephemeral`), and for nobody to read again (`private`).
 * Source: https://libvirt.org/formatsecret.html
 */
export function secretXml(path: string): string {
  return [
    "<secret ephemeral='yes' private='yes'>",
    `  <uuid>${secretUuid(path)}</uuid>`,
    `  <description>${SECRET_DESCRIPTION}</description>`,
    `  <usage type='volume'><volume>${escapeAttribute(path)}</volume></usage>`,
    '</secret>',
  ].join('\n');
}

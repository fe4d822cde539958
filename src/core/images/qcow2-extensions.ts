/**
 * The header extensions of a qcow2 image (docs/interop/qcow2.rst, "Header extensions"). Only two matter:
 * an external data file name is refused even when the feature bit does not ask for it (CVE-2024-4467,
 * CVE-2024-32498 were made of it), and so is a pointer to an encryption header.
 */
import type { Qcow2Header } from './qcow2-header.ts';
import { forbidden, hex, malformed } from './refusal.ts';

const END = 0;
const EXTERNAL_DATA_FILE = 0x44415441;
const ENCRYPTION_HEADER = 0x0537be77;

const FORBIDDEN = new Map([
  [EXTERNAL_DATA_FILE, 'an external data file name'],
  [ENCRYPTION_HEADER, 'a pointer to an encryption header'],
]);

/** Walks the extensions, which end with type 0 or with the first cluster. */
export function checkQcow2Extensions(head: Uint8Array, header: Qcow2Header): void {
  const endBytes = Math.min(head.length, header.clusterBytes);
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  let at = header.headerBytes;
  while (at + 8 <= endBytes) {
    const type = view.getUint32(at);
    if (type === END) return;
    const what = FORBIDDEN.get(type);
    if (what !== undefined) {
      throw forbidden({
        check: 'a header extension',
        offsetBytes: at,
        found: what,
        allowed: 'none of these',
      });
    }
    const lengthBytes = view.getUint32(at + 4);
    if (at + 8 + lengthBytes > endBytes) {
      throw malformed({
        check: `the length of header extension ${hex(type)}`,
        offsetBytes: at + 4,
        found: lengthBytes,
        allowed: `at most ${endBytes - at - 8}, to end before byte ${endBytes}`,
      });
    }
    at += 8 + Math.ceil(lengthBytes / 8) * 8;
  }
  // QEMU goes on to the end of the cluster: what it would find there, nobody has looked at.
  if (endBytes < header.clusterBytes) {
    throw malformed({
      check: 'the header extensions',
      offsetBytes: at,
      found: `no end within the first ${endBytes} bytes`,
      allowed: 'an extension of type 0 before that',
    });
  }
}

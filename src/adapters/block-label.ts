/**
 * LVM does not look into LVs, but it does into the mapping of an encrypted one: an image that is a physical volume would
 * bring its volume groups to this host while it is written, and one of the same name as a group here stops all work on
 * that one. So such an image is refused, and its label never stands on a mapping.
 */
import { ProvisionError } from '../core/errors.ts';
import type { VolumeDevice } from '../provision/ports/volumes.ts';

/** Where LVM looks for its label: at the front of each of the first four sectors. Source: lvm2, lib/label/label.h. */
const LABEL = Buffer.from('LABELONE');
const SECTOR_BYTES = 512;
const LOOKED_AT_BYTES = 4 * SECTOR_BYTES;

/** The same device; a write that would put such a label on it is IMAGE_FORBIDDEN_FEATURE, and nothing is written. */
export function withoutLvmLabel(path: string, device: VolumeDevice): VolumeDevice {
  /** What was written there, in however many pieces. */
  let head = Buffer.alloc(LOOKED_AT_BYTES);
  return {
    sizeBytes: device.sizeBytes,
    write: async (bytes, offsetBytes) => {
      if (offsetBytes < LOOKED_AT_BYTES) {
        const then = Buffer.from(head);
        then.set(bytes.subarray(0, LOOKED_AT_BYTES - offsetBytes), offsetBytes);
        refuseLabel(path, then);
        head = then;
      }
      await device.write(bytes, offsetBytes);
    },
    zero: (offsetBytes, lengthBytes) => {
      head.fill(
        0,
        Math.min(offsetBytes, LOOKED_AT_BYTES),
        Math.min(offsetBytes + lengthBytes, LOOKED_AT_BYTES),
      );
      return device.zero(offsetBytes, lengthBytes);
    },
    read: (target, offsetBytes) => device.read(target, offsetBytes),
    sync: () => device.sync(),
    close: () => device.close(),
  };
}

function refuseLabel(path: string, head: Buffer): void {
  for (let at = 0; at < LOOKED_AT_BYTES; at += SECTOR_BYTES) {
    if (!head.subarray(at, at + LABEL.length).equals(LABEL)) continue;
    throw new ProvisionError({
      code: 'IMAGE_FORBIDDEN_FEATURE',
      message: `The image is a physical volume of LVM from its first sector on, and is not written to ${path}: this host would see its volume groups.`,
      hint: 'Put it into a partition of the image, as installers do; or do not encrypt the disk.',
    });
  }
}

/** Whose the node of a private volume is: the service user's to write, and nobody's but root's if it is to be encrypted. */
import type { HelperRequest } from '../core/helper-protocol.ts';
import type { FillMark } from '../core/volume.ts';
import { privateName } from '../core/volume.ts';
import type { VolumeRow } from './lvm.ts';
import type { Tools } from './tools.ts';

type Owned = Pick<FillMark, 'fillId' | 'encryption'>;

/** Before the LV of an encrypted fill, which is `held`, has its private name, by which udev would give it away. */
export async function keepEncrypted(
  { devices }: Tools,
  volume: Owned | PrivateVolume,
  held: VolumeRow | undefined,
): Promise<void> {
  if (!isEncrypted(volume)) return;
  const name = privateName(volume.fillId);
  await (held?.lv === name ? devices.keepFromService(name) : devices.keepFromService(name, 'unnamed'));
}

/** HELPER_FAILED if the node is not the service user's; that of an encrypted one is taken back. */
export async function checkOwner(tools: Tools, volume: PrivateVolume, row: VolumeRow): Promise<void> {
  if (isEncrypted(volume)) await tools.devices.takeBack(row);
  else await tools.devices.checkService(row);
}

type PrivateVolume = Extract<HelperRequest, { verb: 'create' }>['volume'];

function isEncrypted(volume: Owned | PrivateVolume): boolean {
  return 'encryption' in volume && volume.encryption !== undefined;
}

/** Whose the node of a private volume is: the service user's to write, and nobody's but root's if it is to be encrypted. */
import type { HelperRequest } from '../core/protocol/helper-protocol.ts';
import type { VolumeRow } from './lvm.ts';
import type { Tools } from './tools.ts';

type PrivateVolume = Extract<HelperRequest, { verb: 'create' }>['volume'];

/** Root's it is from the beginning; an older version of us has udev give it away by its name. */
export async function setOwner({ devices }: Tools, volume: PrivateVolume, row: VolumeRow): Promise<void> {
  if ('encryption' in volume && volume.encryption !== undefined) await devices.takeBack(row);
  else await devices.giveToService(row);
}

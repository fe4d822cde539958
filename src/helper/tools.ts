/** What every verb works with; tests put a model of LVM in its place. */
import { ProvisionError } from '../core/errors.ts';
import type { VolumeGroup } from '../core/volume/volume.ts';
import type { Luks } from './cryptsetup.ts';
import type { Devices } from './devices.ts';
import type { Lvm, VolumeRow } from './lvm.ts';

export interface Tools {
  readonly lvm: Lvm;
  readonly devices: Devices;
  readonly luks: Luks;
  readonly keyFiles: KeyFiles;
  pause(durationMs: number): Promise<void>;
}

export interface KeyFiles {
  /** The decrypted key of that name, to be wiped; KEY_NOT_FOUND, KEY_UNUSABLE. */
  read(name: string): Promise<Buffer>;
}

/** All LVs of one group, which must exist. */
export async function readGroup(tools: Tools, vg: string): Promise<readonly VolumeRow[]> {
  return (await readWithGroup(tools, vg)).rows;
}

/** The group itself and all its LVs; POOL_UNSUITABLE if there is none. */
export async function readWithGroup(
  tools: Tools,
  vg: string,
): Promise<{ readonly group: VolumeGroup; readonly rows: readonly VolumeRow[] }> {
  const {
    groups: [group],
    volumes: rows,
  } = await tools.lvm.read([vg]);
  if (group !== undefined) return { group, rows };
  throw new ProvisionError({
    code: 'POOL_UNSUITABLE',
    message: `There is no volume group ${vg} on this host.`,
    hint: 'Check volume_groups in the configuration against vgs.',
  });
}

/** The LV of that name as it is now; VOLUME_MISSING if there is none. */
export async function readVolume(tools: Tools, vg: string, lv: string): Promise<VolumeRow> {
  const row = (await tools.lvm.volumes([vg])).find((candidate) => candidate.lv === lv);
  if (row !== undefined) return row;
  throw new ProvisionError({
    code: 'VOLUME_MISSING',
    message: `There is no logical volume ${vg}/${lv}.`,
    hint: `See lvs ${vg}.`,
  });
}

const CLOSE_TRIES_MAX = 25;
const CLOSE_PAUSE_MS = 200;

/**
 * Waits until nobody has the LV open. After the last writer has closed a device, udev opens it for a moment
 * to look at it.
 */
export async function waitClosed(tools: Tools, vg: string, lv: string): Promise<VolumeRow> {
  for (let tries = 1; ; tries += 1) {
    await tools.devices.settle();
    const row = await readVolume(tools, vg, lv);
    if (!row.open) return row;
    if (tries === CLOSE_TRIES_MAX) {
      throw new ProvisionError({
        code: 'VOLUME_STATE',
        message: `${vg}/${lv} is open, and was still so after ${(CLOSE_TRIES_MAX * CLOSE_PAUSE_MS) / 1000} s.`,
        hint: `See who has it with lsof /dev/${vg}/${lv} and dmsetup ls --tree.`,
      });
    }
    await tools.pause(CLOSE_PAUSE_MS);
  }
}

const WITHDRAW_TRIES_MAX = 5;

/**
 * Takes the node from the service user, and makes sure that nobody had opened it before that; answers the LV as it is
 * then. `row` is a reading of it.
 */
export async function withdraw(tools: Tools, row: VolumeRow): Promise<VolumeRow> {
  const { vg, lv } = row;
  if (await isOutOfHands(tools, row)) return row;
  let now = row.open || row.device === undefined ? await waitClosed(tools, vg, lv) : row;
  for (let tries = 1; tries <= WITHDRAW_TRIES_MAX; tries += 1) {
    await tools.devices.takeBack(now);
    // No rule of ours gives the node to the service user again; one of an older version of us, or of somebody else, may.
    now = await waitClosed(tools, vg, lv);
    if (await tools.devices.isTakenBack(now)) return now;
  }
  throw new ProvisionError({
    code: 'VOLUME_STATE',
    message: `${vg}/${lv} is given to the service user again and again by udev. Nothing was changed.`,
    hint: `See udevadm test on its node, and its tags with lvs -o +tags ${vg}.`,
  });
}

/** Nobody has it open by that reading, and the service user cannot open it: only the helper gives nodes away. */
async function isOutOfHands({ devices }: Tools, row: VolumeRow): Promise<boolean> {
  if (row.open || row.device === undefined) return false;
  // Whether its node is missing or late is found out the long way.
  return devices.isTakenBack(row).catch(() => false);
}

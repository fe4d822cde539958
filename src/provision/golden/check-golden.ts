/**
 * Reading a golden volume, which has no device of its own: through a clone, which holds the same. It is marked as the
 * private volume of a golden one, so that no guest can come by it and a crash leaves it as litter.
 */
import { GOLDEN_OWNER } from '../../core/owner.ts';
import type { GoldenVolume } from '../../core/thin/golden.ts';
import { goldenName, privateName } from '../../core/volume/volume.ts';
import type { DiscardNeeds } from '../fill/discard-volume.ts';
import { discardOrLeave } from '../fill/discard-volume.ts';
import type { Clock, Log } from '../ports/host.ts';
import type { VolumeDevices } from '../ports/volumes.ts';
import { contentDigest } from '../stream/content-digest.ts';

/** After each MiB, so that guests have the disk: at most 50 MiB a second are read. */
const PAUSE_MS = 20;

export interface CheckNeeds extends DiscardNeeds {
  readonly devices: VolumeDevices;
  readonly clock: Clock;
  readonly log: Log;
}

/** What contentDigest() says of it now; DEVICE_FAILED if it cannot be read. */
export async function digestOfGolden(
  needs: CheckNeeds,
  { vg, seal }: GoldenVolume,
  fillId: string,
  signal: AbortSignal,
): Promise<string> {
  const { clock, devices, log, volumes } = needs;
  const volume = { vg, fillId, target: goldenName(fillId), domainUuid: GOLDEN_OWNER };
  try {
    await volumes.clone(volume, seal, seal.sizeBytes);
    const device = await devices.open(vg, privateName(fillId));
    try {
      const pause = () => clock.sleep(PAUSE_MS, signal);
      return await contentDigest(device, device.sizeBytes, { signal, pause });
    } finally {
      await device.close();
    }
  } finally {
    await discardOrLeave(needs, volume, undefined, log);
  }
}

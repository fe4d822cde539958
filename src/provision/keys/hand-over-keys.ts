/** The last step before a start is let through: libvirt is told what opens the domain's encrypted disks. */
import type { Problem } from '../../core/errors.ts';
import type { Plan } from '../../core/plan.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import type { LogicalVolume } from '../../core/volume/volume.ts';
import { readMark } from '../../core/volume/volume.ts';
import type { GuestKeys } from './guest-keys.ts';
import type { KeyedDisk } from './handed-secrets.ts';

export interface HandOverNeeds {
  readonly guestKeys: Pick<GuestKeys, 'handOver'>;
  /** False while libvirt takes no clients, as during the autostart of domains at boot. */
  readonly isLibvirtReachable: () => boolean;
}

/** True if the domain has a disk that a key opens. */
export function hasEncryptedDisk(planned: Plan): boolean {
  return planned.disks.some(({ request }) => request.key !== undefined);
}

/**
 * What stands in the way, if anything does; all disks of the plan are finished, or set aside to receive. `lastLook` looks
 * once more when the keys are there.
 */
export async function handOverKeys(
  { guestKeys, isLibvirtReachable }: HandOverNeeds,
  planned: Plan,
  volumes: readonly LogicalVolume[],
  { limitMs, lastLook }: { readonly limitMs: number; readonly lastLook?: () => Promise<readonly Problem[]> },
): Promise<readonly Problem[]> {
  const found = planned.disks.map((disk) => keyedDisk(disk, volumes));
  const problems = found.filter((one): one is Problem => one !== undefined && 'code' in one);
  if (problems.length > 0) return problems;
  const disks = found.filter((one): one is KeyedDisk => one !== undefined && !('code' in one));
  if (disks.length > 0 && !isLibvirtReachable()) return [takesNoClients(planned)];
  return guestKeys.handOver(planned.domain, disks, limitMs, lastLook);
}

/** Undefined for a disk that is not encrypted. Its seal and its annotation must say the same. */
function keyedDisk(
  { request: { target, key }, location }: Plan['disks'][number],
  volumes: readonly LogicalVolume[],
): KeyedDisk | Problem | undefined {
  const volume = volumes.find((one) => volumeKey(one) === volumeKey(location));
  const mark = volume && readMark(volume.tags);
  const seal = mark?.state === 'ready' || mark?.state === 'receiving' ? mark : undefined;
  const isSealedEncrypted = seal?.encryption !== undefined;
  if (key === undefined && !isSealedEncrypted) return undefined;
  if (key !== undefined && seal !== undefined && isSealedEncrypted) {
    return { target, key, vg: location.vg, lv: location.lv, seal };
  }
  const is = (encrypted: boolean) => (encrypted ? 'encrypted' : 'not encrypted');
  return {
    code: 'VOLUME_STATE',
    message: `Disk ${target}: its volume ${volumeKey(location)} is ${is(isSealedEncrypted)}, and by its annotation the disk is ${is(key !== undefined)}.`,
    hint: 'Write into the domain what the volume is, or have the volume made again: lvp reprovision.',
  };
}

/** libvirtd autostarts domains before it lets anybody hand it a secret. */
function takesNoClients({ domain: { name } }: Plan): Problem {
  return {
    code: 'LIBVIRT_UNAVAILABLE',
    message: `Domain ${name} has an encrypted disk, and libvirtd takes no clients at this moment, so that its key cannot be handed over.`,
    hint: 'If it is autostarted, it is started as soon as libvirtd answers.',
  };
}

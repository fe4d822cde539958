/**
 * How a domain's guest last ended, as far as that is proven, and what that means for its volumes. Not seeing a
 * domain any more proves nothing: it may have moved to another host.
 */
import type { VolumeFate, VolumeRequest } from './request.ts';

/** `here`: its last run ended on this host, or it never had one; `migrated`: it went on elsewhere. */
export type LastEnd = 'here' | 'migrated';

/**
 * Why libvirt calls a domain shut off (virDomainShutoffReason): `ended` by its guest, by a person or a crash;
 * `unknown` of one that was not started since libvirtd was; `saved` to be gone on with; `failed` to start, or to
 * arrive, which says nothing of the run before.
 */
export type ShutoffReason = 'ended' | 'migrated' | 'saved' | 'failed' | 'unknown';

/** What is proven after a reading of a domain that is there. Undefined: nothing. */
export function lastEndAfter(
  before: LastEnd | undefined,
  found: {
    readonly active: boolean;
    readonly persistent: boolean;
    readonly shutoff?: ShutoffReason | undefined;
  },
): LastEnd | undefined {
  if (found.active || !found.persistent) return undefined;
  switch (found.shutoff) {
    case 'ended':
      return 'here';
    case 'migrated':
      return 'migrated';
    case 'unknown':
      // libvirtd forgets the reason when it is started again; that the guest has moved stays true.
      return before === 'migrated' ? 'migrated' : 'here';
    case 'failed':
      return before;
    case 'saved':
    case undefined:
      return undefined;
  }
}

/** What the annotation wants done with a volume whose domain is gone and has ended so. */
export function fateOf(request: VolumeRequest, lastEnd: LastEnd): VolumeFate {
  return (lastEnd === 'here' ? request.onUndefine : request.afterMigration) ?? 'keep';
}

/** True if the volume may have to go when its domain does. */
export function mayBeDeleted({ onUndefine, afterMigration }: VolumeRequest): boolean {
  return onUndefine === 'delete' || afterMigration === 'delete';
}

/**
 * How a domain's guest last ended, as far as that is proven, and what that means for its volumes. Not seeing a
 * domain any more proves nothing: it may have moved to another host.
 */
import type { DiskPlan, Plan } from '../plan.ts';
import type { VolumeFate, VolumeRequest } from '../request.ts';
import type { PlannedFill } from './planned-fill.ts';

/** `here`: its last run ended on this host, or it never had one; `migrated`: it went on elsewhere. */
export type LastEnd = 'here' | 'migrated';

/**
 * Why libvirt calls a domain shut off (virDomainShutoffReason): `ended` by its guest, by a person or a crash;
 * `unknown` of one that was not started since libvirtd was, which may before that have moved away or been saved;
 * `saved` to be gone on with; `failed` to start, or to arrive, which says nothing of the run before.
 */
export type ShutoffReason = 'ended' | 'migrated' | 'saved' | 'failed' | 'unknown';

/** What is true after a reading of a domain that is there, if `before` was true until then. Undefined: nothing. */
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
    case 'failed':
      return before;
    case 'saved':
    case undefined:
      return undefined;
  }
}

/** True if a reading says by itself how the last run ended. */
export function saysHowItEnded(shutoff: ShutoffReason | undefined): boolean {
  return shutoff !== undefined && shutoff !== 'unknown' && shutoff !== 'failed';
}

/**
 * True if no volume of the domain has been published, and none stands aside: whatever its guest did, it was not on
 * what is published from now on.
 */
export function isUntouched({ domain, disks, problems }: Plan, fills: readonly PlannedFill[]): boolean {
  if (problems.length > 0) return false;
  return (
    disks.every(({ action, aside }) => aside === undefined && UNPUBLISHED.includes(action)) &&
    fills.every(
      ({ domainUuid, state, replaces }) =>
        domainUuid !== domain.uuid || (state !== 'ready' && replaces === undefined),
    )
  );
}

const UNPUBLISHED: readonly DiskPlan['action'][] = ['fill', 'wait', 'finish', 'hold'];

/** What the annotation wants done with a volume whose domain is gone and has ended so. */
export function fateOf(request: VolumeRequest, lastEnd: LastEnd): VolumeFate {
  return (lastEnd === 'here' ? request.onUndefine : request.afterMigration) ?? 'keep';
}

/** True if the volume may have to go when its domain does. */
export function mayBeDeleted({ onUndefine, afterMigration }: VolumeRequest): boolean {
  return onUndefine === 'delete' || afterMigration === 'delete';
}

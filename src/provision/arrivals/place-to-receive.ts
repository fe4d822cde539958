/**
 * Whether there is a place here for what another host hands over. What that says may be wrong or meant to harm: it
 * gets room where nothing else is or is to be, within the limits of this host, and nothing beyond that.
 */
import { deleteCommand } from '../../core/volume/delete-command.ts';
import { ProvisionError } from '../../core/errors.ts';
import type { Handover } from '../../core/handover.ts';
import type { HostPolicy } from '../../core/policy/host-policy.ts';
import { judgePlace } from '../../core/policy/host-policy.ts';
import { goesOn, volumeKey } from '../../core/plan/planned-fill.ts';
import type { KeyReference } from '../../core/key/key-reference.ts';
import { parseKeyReference } from '../../core/key/key-reference.ts';
import type { LogicalPool } from '../../core/request.ts';
import type { LogicalVolume, ReceivingMark } from '../../core/volume/volume.ts';
import { privateName, readMark, receivingTags, retiredName } from '../../core/volume/volume.ts';
import type { Arrivals } from './arrivals.ts';
import { setAsideFor } from './arrivals.ts';
import type { Fills } from '../fill/fills.ts';
import type { Ledger } from '../ports/ledger.ts';
import type { PrivateVolume } from '../ports/volumes.ts';

export interface PlaceNeeds {
  readonly arrivals: Arrivals;
  readonly ledger: Pick<Ledger, 'fills'>;
  readonly fills: Pick<Fills, 'running'>;
  /** Volume groups that other hosts see too. */
  readonly sharedGroups: ReadonlySet<string>;
  /** No larger volume is made. */
  readonly virtualSizeMaxBytes: number;
  readonly hostPolicy: HostPolicy | undefined;
}

/** One volume of a handover, as it is to be here. */
export interface Wanted {
  readonly target: string;
  readonly pool: LogicalPool;
  readonly sizeBytes: number;
  readonly mark: ReceivingMark;
  readonly volume: PrivateVolume;
  /** Of a volume that is to be encrypted. */
  readonly key?: KeyReference | undefined;
}

/** Where a volume that is handed over is to be here. */
export function locateWanted(
  { sharedGroups, virtualSizeMaxBytes, hostPolicy }: PlaceNeeds,
  domain: Pick<Handover, 'uuid' | 'name'>,
  { target, pool: name, sizeBytes, seal, key }: Handover['volumes'][number],
  pools: readonly LogicalPool[],
): Wanted {
  const pool = pools.find((one) => one.name === name);
  if (pool?.active !== true) {
    throw new ProvisionError({
      code: 'POOL_UNSUITABLE',
      message: `There is no active logical pool ${name} on this host for disk ${target}.`,
      hint: 'The pool must have the same name on both hosts: see virsh pool-list --all.',
    });
  }
  if (sharedGroups.has(pool.vg)) {
    throw new ProvisionError({
      code: 'POOL_UNSUITABLE',
      message: `Pool ${name} for disk ${target} is on ${pool.vg}, which other hosts see as well: nothing is copied to it.`,
      hint: 'Migrate without --copy-storage-all; or take the group out of shared_volume_groups if it is this host’s alone.',
    });
  }
  if (sizeBytes > virtualSizeMaxBytes) {
    throw new ProvisionError({
      code: 'IMAGE_TOO_LARGE',
      message: `Disk ${target} has ${sizeBytes} bytes, and this host makes no volume of more than ${virtualSizeMaxBytes}.`,
      hint: 'See limits.virtual_size_max in the configuration.',
    });
  }
  const place = { pool: pool.name, vg: pool.vg };
  const verdict = judgePlace(hostPolicy, domain, target, place, sizeBytes);
  if (verdict?.allowed === false) throw new ProvisionError(verdict.problem);
  const { fillId, target: lv, domainUuid, encryption } = seal;
  const volume = { vg: pool.vg, fillId, target: lv, domainUuid, encryption };
  return {
    ...{ target, pool, sizeBytes, mark: { ...seal, state: 'receiving' }, volume },
    ...(key === undefined ? {} : { key: parseKeyReference(key) }),
  };
}

/** What was set aside for this domain and is not asked for again may hold all there is of it: VOLUME_STATE then. */
export function refuseEarlierArrival(
  { uuid, name }: Handover,
  wanted: readonly Wanted[],
  volumes: readonly LogicalVolume[],
): void {
  const fillIds = new Set(wanted.map(({ mark }) => mark.fillId));
  const [other] = setAsideFor(volumes, uuid).filter(({ mark }) => !fillIds.has(mark.fillId));
  if (other !== undefined) {
    throw state(
      `Volume ${volumeKey(other.volume)} was set aside for ${name} before, and is not in what was handed over now.`,
      'If its content is not needed, delete it (virsh vol-delete) and ask again.',
    );
  }
}

/** True for one that is not set aside yet; VOLUME_STATE if there is, or is to be, anything else in its place. */
export function isMissing(
  { arrivals, fills, ledger }: PlaceNeeds,
  { mark, volume, sizeBytes }: Wanted,
  volumes: readonly LogicalVolume[],
): boolean {
  const place = { vg: volume.vg, lv: mark.target };
  const key = volumeKey(place);
  const found = volumes.find((other) => volumeKey(other) === key);
  const isSetAside = found !== undefined && receivingTags(mark).every((tag) => found.tags.includes(tag));
  if (isSetAside && arrivals.isExpected(mark.domainUuid) && found.sizeBytes >= sizeBytes) return false;
  if (found !== undefined) {
    throw state(
      isSetAside
        ? `Volume ${key} was set aside before, and it is not known whether its domain has come meanwhile.`
        : `There is a volume ${key} on this host already, and what arrives would be written over it.`,
      `If its content is not needed, delete it (${deleteCommand({ ...found, pool: 'POOL' })}) and ask again.`,
    );
  }
  const fill = ledger
    .fills()
    .find(
      (one) =>
        (one.fillId === mark.fillId || volumeKey(one.location) === key) &&
        (fills.running.has(one.fillId) || goesOn(one)),
    );
  if (fill !== undefined) {
    throw state(
      `Volume ${key} is being filled here for domain ${fill.domainName}.`,
      `See lvp status ${fill.domainName}; lvp cancel ends it.`,
    );
  }
  const kin = volumes.find((other) => isKinOf(other, place, mark.fillId));
  if (kin === undefined) return true;
  throw state(
    `Volume ${volumeKey(kin)} on this host is, or is to be, ${key}, or is of the same fill.`,
    'See its tags with lvs -o +tags; lvp status says what becomes of it.',
  );
}

/** Unfinished under a name of ours, put aside to be made again, or of that very fill. */
function isKinOf(
  { vg, lv, tags }: LogicalVolume,
  place: { readonly vg: string; readonly lv: string },
  fillId: string,
): boolean {
  const mark = readMark(tags);
  if (lv === privateName(fillId) || lv === retiredName(fillId)) return true;
  if (mark.state === 'unmarked' || mark.state === 'unclear') return false;
  return mark.fillId === fillId || (mark.state !== 'golden' && vg === place.vg && mark.target === place.lv);
}

export function state(message: string, hint: string): ProvisionError {
  return new ProvisionError({ code: 'VOLUME_STATE', message, hint });
}

/**
 * Migration with copied storage. The host that has the domain says what its volumes are (`handover`); the one it
 * is to come to makes volumes of that size, all zeros, and sets them aside for this domain (`receive`). QEMU
 * writes the bytes, and once the guest runs here they carry the seals they had there (arrivals.ts).
 */
import { ProvisionError } from '../core/errors.ts';
import type { Handover, ReceiveResult } from '../core/handover.ts';
import type { Plan } from '../core/plan.ts';
import { isStartable, volumeKey } from '../core/plan.ts';
import type { LogicalPool } from '../core/request.ts';
import type { LogicalVolume, ReceivingMark } from '../core/volume.ts';
import { fillIdOf, privateName, readMark, receivingTags } from '../core/volume.ts';
import type { Arrivals } from './arrivals.ts';
import { EXPECTED_MS, setAsideFor } from './arrivals.ts';
import { discardVolume } from './discard-volume.ts';
import type { Observation } from './observe.ts';
import { problemsOf } from './observe.ts';
import type { Clock, Domains, Log, Pools, PrivateVolume, VolumeDevices, Volumes } from './ports.ts';

export interface ReceiveNeeds {
  readonly arrivals: Arrivals;
  readonly volumes: Volumes;
  readonly pools: Pools;
  readonly devices: VolumeDevices;
  readonly domains: Pick<Domains, 'read'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** The seals and sizes of a domain's volumes, all of which must be ready; VOLUME_STATE if one is not. */
export function handoverOf(planned: Plan, { volumes }: Pick<Observation, 'volumes'>): Handover {
  const { uuid, name } = planned.domain;
  if (!isStartable(planned) || planned.disks.length === 0) {
    const [problem] = problemsOf(planned);
    throw new ProvisionError({
      code: problem?.code ?? 'VOLUME_STATE',
      message: `Domain ${name} has nothing to hand over: ${problem?.message ?? 'its volumes are not all ready.'}`,
      hint: `See lvp status ${name}.`,
    });
  }
  return {
    ...{ uuid, name },
    volumes: planned.disks.map(({ request, location }) => {
      const found = volumes.find((volume) => volumeKey(volume) === volumeKey(location));
      const seal = found === undefined ? undefined : readMark(found.tags);
      if (found === undefined || seal?.state !== 'ready') throw new Error(`${location.lv} has lost its seal`);
      return { target: request.target, pool: location.pool, sizeBytes: found.sizeBytes, seal };
    }),
  };
}

/** One volume of a handover, as it is to be here. */
interface Wanted {
  readonly target: string;
  readonly pool: LogicalPool;
  readonly sizeBytes: number;
  readonly mark: ReceivingMark;
  readonly volume: PrivateVolume;
}

/** Sets volumes aside for a domain, all or none. Can be repeated until the migration begins. */
export async function receive(needs: ReceiveNeeds, handover: Handover): Promise<ReceiveResult> {
  const { arrivals, clock, domains, pools, volumes } = needs;
  const { uuid, name } = handover;
  const found = await domains.read(uuid);
  if (found?.active === true) {
    throw state(`Domain ${name} (${uuid}) runs on this host.`, 'It can only arrive where it is not.');
  }
  const known = await pools.list();
  const wanted = handover.volumes.map((volume) => locate(volume, known));
  const missing = whatIsMissing(wanted, (await volumes.list()).volumes, arrivals.isExpected(uuid));
  if (missing.some(({ mark }) => arrivals.preparing.has(mark.fillId))) {
    throw state(`Volumes for ${name} are being made already.`, 'Ask again in a moment.');
  }
  await makeAll(needs, missing);
  arrivals.expect(uuid);
  return {
    ...{ uuid, name },
    volumes: wanted.map((one) => ({
      ...{ target: one.target, pool: one.pool.name, volume: one.mark.target },
      made: missing.includes(one) ? ('created' as const) : ('existing' as const),
    })),
    until: new Date(clock.nowMs() + EXPECTED_MS).toISOString(),
  };
}

function locate(
  { target, pool: name, sizeBytes, seal }: Handover['volumes'][number],
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
  const { fillId, target: lv, domainUuid } = seal;
  const volume = { vg: pool.vg, fillId, target: lv, domainUuid };
  return { target, pool, sizeBytes, mark: { ...seal, state: 'receiving' }, volume };
}

/** Those that are not set aside yet; VOLUME_STATE if there is anything else in the place of one. */
function whatIsMissing(
  wanted: readonly Wanted[],
  volumes: readonly LogicalVolume[],
  isExpected: boolean,
): Wanted[] {
  return wanted.filter(({ mark, volume, sizeBytes }) => {
    const key = volumeKey({ vg: volume.vg, lv: mark.target });
    const found = volumes.find((other) => volumeKey(other) === key);
    if (found === undefined) return true;
    const isSetAside = receivingTags(mark).every((tag) => found.tags.includes(tag));
    if (isSetAside && isExpected && found.sizeBytes >= sizeBytes) return false;
    throw state(
      isSetAside
        ? `Volume ${key} was set aside before, and it is not known whether its domain has come meanwhile.`
        : `There is a volume ${key} on this host already, and what arrives would be written over it.`,
      `If its content is not needed, delete it (virsh vol-delete ${mark.target} POOL) and ask again.`,
    );
  });
}

async function makeAll(needs: ReceiveNeeds, missing: readonly Wanted[]): Promise<void> {
  const { arrivals, pools } = needs;
  for (const { mark } of missing) arrivals.preparing.add(mark.fillId);
  try {
    for (const one of missing) await make(needs, one);
    for (const pool of new Set(missing.map((one) => one.pool.name))) await pools.refresh(pool);
  } catch (error) {
    for (const one of missing) await unmake(needs, one);
    throw error;
  } finally {
    for (const { mark } of missing) arrivals.preparing.delete(mark.fillId);
  }
}

async function make({ devices, log, volumes }: ReceiveNeeds, wanted: Wanted): Promise<void> {
  const { mark, sizeBytes, volume } = wanted;
  await volumes.create(volume, sizeBytes);
  // What QEMU does not copy, or has not copied yet, must not be what an earlier tenant has left.
  const device = await devices.open(volume.vg, privateName(volume.fillId));
  try {
    await device.zero(0, device.sizeBytes);
    await device.sync();
  } finally {
    await device.close();
  }
  await volumes.publish(volume, mark);
  const fields = { domain: mark.domainUuid, fill: mark.fillId, volume: `${volume.vg}/${mark.target}` };
  log.info({ ...fields, sizeBytes }, 'set aside for a domain that arrives');
}

/** As if it had never been asked for; what cannot be removed now is met again (reclaim, Arrivals). */
async function unmake({ arrivals, log, pools, volumes }: ReceiveNeeds, wanted: Wanted): Promise<void> {
  const { mark, pool, volume } = wanted;
  try {
    const now = (await volumes.list()).volumes;
    const [made] = setAsideFor(now, mark.domainUuid).filter((one) => one.mark.fillId === mark.fillId);
    if (made !== undefined) await arrivals.remove(made);
    else if (now.some(({ lv }) => fillIdOf(lv) === mark.fillId))
      await discardVolume({ pools, volumes }, volume, pool.name);
  } catch (error) {
    log.warn({ fill: mark.fillId, error }, 'a volume that was set aside in vain could not be removed now');
  }
}

function state(message: string, hint: string): ProvisionError {
  return new ProvisionError({ code: 'VOLUME_STATE', message, hint });
}

/**
 * Migration with copied storage. The host that has the domain says what its volumes are (`handover`); the one it
 * is to come to makes volumes of that size, all zeros, and sets them aside for this domain (`receive`). QEMU
 * writes the bytes, and once the guest runs here they carry the seals they had there (arrivals.ts).
 */
import { toProblem } from '../../core/errors.ts';
import type { Handover, ReceiveResult } from '../../core/handover.ts';
import { fillIdOf, LUKS_BLANK_HEAD_BYTES, privateName } from '../../core/volume/volume.ts';
import { EXPECTED_MS, setAsideFor } from './arrivals.ts';
import { discardVolume } from '../fill/discard-volume.ts';
import type { PlaceNeeds, Wanted } from './place-to-receive.ts';
import { isMissing, locateWanted, refuseEarlierArrival, state } from './place-to-receive.ts';
import type { Clock, Log } from '../ports/host.ts';
import type { Domains, Pools } from '../ports/libvirt.ts';
import type { PrivateVolume, VolumeDevices, Volumes } from '../ports/volumes.ts';
import type { Reservations } from '../reservations.ts';
import type { LuksNeeds } from '../fill/through-luks.ts';
import { publishTried, throughLuks } from '../fill/through-luks.ts';

/** Keys are read within the limits of their provider. */
const UNSTOPPED = new AbortController().signal;

export interface ReceiveNeeds extends PlaceNeeds, Pick<LuksNeeds, 'luks' | 'keys'> {
  readonly reservations: Reservations;
  readonly volumes: Volumes;
  readonly pools: Pools;
  readonly devices: VolumeDevices;
  readonly domains: Pick<Domains, 'read'>;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Sets volumes aside for a domain, all or none. Can be repeated until the migration begins.
 */
export async function receive(needs: ReceiveNeeds, handover: Handover): Promise<ReceiveResult> {
  const { arrivals, clock } = needs;
  const { uuid, name, volumes } = handover;
  if (arrivals.isPreparing(uuid)) {
    throw state(`Volumes for ${name} are being set aside already.`, 'Ask again in a moment.');
  }
  const fillIds = volumes.map(({ seal }) => seal.fillId);
  const { wanted, missing } = await arrivals.prepare(uuid, fillIds, () => setAside(needs, handover));
  return {
    ...{ uuid, name },
    volumes: wanted.map((one) => ({
      ...{ target: one.target, pool: one.pool.name, volume: one.mark.target },
      made: missing.includes(one) ? ('created' as const) : ('existing' as const),
    })),
    until: new Date(clock.nowMs() + EXPECTED_MS).toISOString(),
  };
}

async function setAside(
  needs: ReceiveNeeds,
  handover: Handover,
): Promise<{ readonly wanted: readonly Wanted[]; readonly missing: readonly Wanted[] }> {
  const { uuid, name } = handover;
  const found = await needs.domains.read(uuid);
  if (found?.active === true) {
    throw state(`Domain ${name} (${uuid}) runs on this host.`, 'It can only arrive where it is not.');
  }
  const pools = await needs.pools.list();
  const wanted = handover.volumes.map((volume) => locateWanted(needs, handover, volume, pools));
  const { volumes } = await needs.volumes.list();
  // From here to the making nothing is waited for.
  refuseEarlierArrival(handover, wanted, volumes);
  const missing = wanted.filter((one) => isMissing(needs, one, volumes));
  await makeAll(needs, missing);
  return { wanted, missing };
}

async function makeAll(needs: ReceiveNeeds, missing: readonly Wanted[]): Promise<void> {
  const made: Wanted[] = [];
  try {
    for (const one of missing) {
      const { reservations, volumes } = needs;
      const { volume, sizeBytes } = one;
      await reservations.whileReserved(volume, sizeBytes, () => volumes.create(volume, sizeBytes));
      made.push(one);
      await setOneAside(needs, one);
    }
    for (const pool of new Set(missing.map((one) => one.pool.name))) await needs.pools.refresh(pool);
  } catch (error) {
    for (const one of made) await unmake(needs, one);
    throw error;
  }
}

async function setOneAside(needs: ReceiveNeeds, wanted: Wanted): Promise<void> {
  const { log } = needs;
  const { mark, sizeBytes, volume, key } = wanted;
  const clear = () => clearVolume(needs, volume);
  // QEMU opens it with the key before the first byte comes, so there is a header of this host's own.
  await (key === undefined ? clear() : throughLuks(needs, volume, key, { signal: UNSTOPPED, log }, clear));
  await publishTried(needs, volume, mark, key, UNSTOPPED);
  const fields = { domain: mark.domainUuid, fill: mark.fillId, volume: `${volume.vg}/${mark.target}` };
  log.info({ ...fields, sizeBytes }, 'set aside for a domain that arrives');
}

/**
 * What QEMU does not copy, or has not copied yet, must not be what an earlier tenant has left. What stays blank behind a
 * new header shows that nothing has come: it is written by the first byte that QEMU copies, and by nothing else.
 */
async function clearVolume(
  { devices }: ReceiveNeeds,
  { vg, fillId, encryption }: PrivateVolume,
): Promise<void> {
  const device = await devices.open(vg, privateName(fillId), encryption);
  try {
    const blankBytes = encryption === undefined ? 0 : LUKS_BLANK_HEAD_BYTES;
    await device.zero(blankBytes, device.sizeBytes - blankBytes);
    await device.sync();
  } finally {
    await device.close();
  }
}

/** As if it had never been asked for; what cannot be removed now is met again (reclaim, Arrivals). */
async function unmake(needs: ReceiveNeeds, wanted: Wanted): Promise<void> {
  const { arrivals, log, volumes } = needs;
  const { mark, pool, volume } = wanted;
  try {
    const now = (await volumes.list()).volumes;
    const [made] = setAsideFor(now, mark.domainUuid).filter((one) => one.mark.fillId === mark.fillId);
    if (made !== undefined) await arrivals.remove(made);
    else if (now.some(({ lv }) => fillIdOf(lv) === mark.fillId))
      await discardVolume(needs, volume, pool.name);
  } catch (error) {
    log.warn(
      { fill: mark.fillId, problem: toProblem(error) },
      'a volume that was set aside in vain could not be removed now',
    );
  }
}

/**
 * The reading half of every decision: pools, volumes and the blankness of volumes in question are read
 * first, all of them; then plan() decides without waiting for anything.
 */
import type { Problem } from '../core/errors.ts';
import { ProvisionError, toProblem } from '../core/errors.ts';
import { frozenProblem } from '../core/frozen.ts';
import type { KeyState } from '../core/key/key-change.ts';
import { keyStateOf } from '../core/key/key-change.ts';
import { formatKeyReference } from '../core/key/key-reference.ts';
import type { Plan } from '../core/plan.ts';
import { plan } from '../core/plan.ts';
import type { Blankness, PlanInput } from '../core/plan/input.ts';
import { volumeKey } from '../core/plan/planned-fill.ts';
import type { HostPolicy } from '../core/policy/host-policy.ts';
import type { Domain, LogicalPool, VolumeLocation } from '../core/request.ts';
import type { ThinPlaces } from '../core/thin/thin-place.ts';
import { thinPlaces } from '../core/thin/thin-place.ts';
import type { LocatedVolume } from '../core/volume/locate.ts';
import { locateVolumes } from '../core/volume/locate.ts';
import type { LogicalVolume, ThinPool, VolumeGroup } from '../core/volume/volume.ts';
import { readMark } from '../core/volume/volume.ts';
import type { Fills } from './fill/fills.ts';
import type { Clock, Freeze } from './ports/host.ts';
import type { FillRecord, Ledger } from './ports/ledger.ts';
import type { Pools } from './ports/libvirt.ts';
import type { Volumes } from './ports/volumes.ts';
import type { VolumeIndex } from './volume-index.ts';
import { indexVolumes } from './volume-index.ts';

export interface ObserveNeeds {
  readonly pools: Pick<Pools, 'list'>;
  readonly volumes: Volumes;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly fills: Fills;
  /** Fills that are about to begin: the volumes that they are to replace are just being put aside. */
  readonly retiring: ReadonlySet<string>;
  /** Fills whose published volumes are just getting another key, or none. */
  readonly changingKeys: ReadonlySet<string>;
  /** Domains whose first start was refused, never to be admitted since; see PlanInput. */
  readonly firstStarts: ReadonlyMap<string, string>;
  readonly freeze: Freeze;
  /** The thin pool of each volume group that has one. */
  readonly thinPools: ReadonlyMap<string, string>;
  /** Undefined: whatever is asked for is filled. */
  readonly hostPolicy: HostPolicy | undefined;
}

/** Readings may be overtaken by a fill that ends; more often than this in a row would be odd. */
const OBSERVATIONS_MAX = 5;

/** One reading of the world. */
export interface Observation {
  readonly volumes: readonly LogicalVolume[];
  readonly pools: readonly LogicalPool[];
  readonly groups: readonly VolumeGroup[];
  /** Where volumes are thin, or are to be. */
  readonly thin: ThinPlaces;
  readonly thinPools: readonly ThinPool[];
  /**
   * Decides about one of the domains the reading was made for, with the ledger as it is at this instant.
   * Whoever acts on plans does so before the next await: until then nothing of ours can have changed.
   */
  plan(domain: Domain): Plan;
  /** Whether no fill has ended since: then plans may still be made and acted on after an await. */
  isFresh(): boolean;
}

/** Reads all that plans about these domains rest on. */
export async function observe(needs: ObserveNeeds, domains: readonly Domain[]): Promise<Observation> {
  const blankness: BlanknessByUuid = new Map();
  for (let count = 0; count < OBSERVATIONS_MAX; count++) {
    const settledBefore = needs.fills.settledCount;
    const [pools, { volumes, groups, thinPools }] = await Promise.all([
      needs.pools.list(),
      needs.volumes.list(),
    ]);
    const index = indexVolumes(volumes);
    const thin = thinPlaces(needs.thinPools, (place) => index.concerning(place));
    const located = domains.flatMap((domain) => locateVolumes(domain, pools, thin).located);
    const examined = await examineUnmarked(needs.volumes, index, located, blankness);
    if (needs.fills.settledCount !== settledBefore) continue;
    const stoppedPools = new Map(
      pools
        .filter(({ active }) => !active)
        .map((pool) => [pool.name, pool.stopped ?? poolStopped(pool.name)]),
    );
    return {
      volumes,
      pools,
      thin,
      groups,
      thinPools,
      isFresh: () => needs.fills.settledCount === settledBefore,
      plan: (domain) => {
        const locations = locateVolumes(domain, pools, thin);
        const frozen = needs.freeze.frozen();
        const places = locations.located.map(({ location }) => location);
        const concerned = [...new Set(places.flatMap((place) => index.concerning(place)))];
        return plan({
          ...locations,
          problems: [...(frozen === undefined ? [] : [frozenProblem(frozen)]), ...locations.problems],
          domain,
          volumes: concerned,
          keyStates: keyStatesOf(needs, concerned),
          blankness: examined,
          fills: fillsConcerning(needs.ledger, domain.uuid, places),
          running: new Set([...needs.fills.running, ...needs.retiring]),
          firstStarts: needs.firstStarts,
          stoppedPools,
          hostPolicy: needs.hostPolicy,
          keysElsewhere: keysElsewhere(needs.ledger, domain),
          nowMs: needs.clock.nowMs(),
        });
      },
    };
  }
  throw new ProvisionError({
    code: 'TIMEOUT',
    message: 'The state of the volumes kept changing while it was read.',
    hint: 'Try again in a moment.',
  });
}

/** A pool that is not active, with nothing known about why. */
export function poolStopped(pool: string): Problem {
  return {
    code: 'POOL_INACTIVE',
    message: `The storage pool ${pool} is stopped.`,
    hint: `Start it with: virsh pool-start ${pool}. What waits for it then goes on by itself.`,
  };
}

/** Rows of this domain, and of all others for its volumes. */
function fillsConcerning(
  ledger: Ledger,
  domainUuid: string,
  places: readonly VolumeLocation[],
): readonly FillRecord[] {
  const others = places
    .flatMap((place) => ledger.fillsAt(place))
    .filter((row) => row.domainUuid !== domainUuid);
  return [...ledger.fillsOf(domainUuid), ...others];
}

/** What is done to the keys of those that are encrypted, as the ledger has it at this instant. */
function keyStatesOf(
  { ledger, changingKeys }: ObserveNeeds,
  volumes: readonly LogicalVolume[],
): ReadonlyMap<string, KeyState> {
  const states = new Map<string, KeyState>();
  for (const { tags } of volumes) {
    const mark = readMark(tags);
    if (mark.state !== 'ready' || mark.encryption === undefined) continue;
    const state = keyStateOf(ledger.keyChangeOf(mark.fillId), changingKeys.has(mark.fillId));
    if (state !== undefined) states.set(mark.fillId, state);
  }
  return states;
}

/** The keys of all other domains, as far as this one has any. Those whose end is proven need none any more. */
function keysElsewhere(ledger: Ledger, domain: Domain): PlanInput['keysElsewhere'] {
  const keys = new Map<string, { readonly domainUuid: string; readonly says: string }>();
  if (domain.annotation?.volumes.every(({ key }) => key === undefined) ?? true) return keys;
  for (const { domain: other, goneAtMs } of ledger.domains()) {
    if (other.uuid === domain.uuid || goneAtMs !== undefined) continue;
    for (const { key, target } of other.annotation?.volumes ?? []) {
      if (key === undefined) continue;
      const says = `disk ${target} of domain ${other.name}`;
      keys.set(formatKeyReference(key), { domainUuid: other.uuid, says });
    }
  }
  return keys;
}

/** By the UUID of the volume. */
type BlanknessByUuid = Map<string, Blankness>;

/**
 * Only volumes under an annotated name and without our tags are opened and looked at, each once: with many of
 * them a fill that ends meanwhile would begin it all again. Whoever takes one over looks once more.
 */
async function examineUnmarked(
  helper: Volumes,
  index: VolumeIndex,
  located: readonly LocatedVolume[],
  known: BlanknessByUuid,
): Promise<Map<string, Blankness>> {
  const blankness = new Map<string, Blankness>();
  for (const { location } of located) {
    const volume = index.at(location);
    if (volume === undefined || readMark(volume.tags).state !== 'unmarked') continue;
    // One that cannot be examined is not blank, and does not keep the others from being looked at.
    const examined =
      known.get(volume.uuid) ??
      (await helper.examine(volume.vg, volume.lv).catch((error: unknown) => ({
        blank: false as const,
        why: `it could not be examined: ${toProblem(error).message}`,
      })));
    known.set(volume.uuid, examined);
    blankness.set(volumeKey(volume), examined);
  }
  return blankness;
}

/**
 * The pools as last read, for when libvirt does not answer in time: at boot libvirtd asks the gate about
 * autostarted domains while it takes no clients itself.
 */
export class KnownPools {
  readonly #pools: Pick<Pools, 'list'>;
  readonly #clock: Clock;
  readonly #limitMs: number;
  #last: readonly LogicalPool[] | undefined;
  /** One reading at a time: starts by the dozen would queue up behind one another for the bus. */
  #reading: Promise<readonly LogicalPool[]> | undefined;

  constructor(pools: Pick<Pools, 'list'>, clock: Clock, limitMs: number) {
    this.#pools = pools;
    this.#clock = clock;
    this.#limitMs = limitMs;
  }

  /** Fresh if libvirt answers within the limit, else what it said last; LIBVIRT_UNAVAILABLE if it never did. */
  async list(): Promise<readonly LogicalPool[]> {
    const late = Symbol('late');
    const reading = (this.#reading ??= this.#read());
    reading.catch(() => undefined);
    let problem: unknown;
    try {
      const first = await Promise.race([
        reading,
        this.#clock.sleep(this.#limitMs).then((): typeof late => late),
      ]);
      if (first !== late) return first;
    } catch (error) {
      problem = error;
    }
    if (this.#last !== undefined) return this.#last;
    throw new ProvisionError({
      code: 'LIBVIRT_UNAVAILABLE',
      message: 'libvirt does not say which storage pools there are.',
      hint: 'Check `systemctl status libvirtd` and `virsh pool-list`.',
      cause: problem,
    });
  }

  async #read(): Promise<readonly LogicalPool[]> {
    try {
      return (this.#last = await this.#pools.list());
    } finally {
      this.#reading = undefined;
    }
  }
}

/** Problems of a plan in the order of its disks: what stands between this domain and its start. */
export function problemsOf(planned: Plan): Problem[] {
  return [
    ...planned.problems,
    ...planned.disks.flatMap((disk) =>
      disk.action === 'refuse' || disk.action === 'hold' ? [disk.problem] : [],
    ),
  ];
}

/**
 * The reading half of every decision: pools, volumes and the blankness of volumes in question are read
 * first, all of them; then plan() decides without waiting for anything.
 */
import type { Problem } from '../core/errors.ts';
import { ProvisionError, toProblem } from '../core/errors.ts';
import { locateVolumes } from '../core/locate.ts';
import type { LocatedVolume } from '../core/locate.ts';
import type { Blankness, Plan } from '../core/plan.ts';
import { plan } from '../core/plan.ts';
import { volumeKey } from '../core/planned-fill.ts';
import type { Domain, LogicalPool } from '../core/request.ts';
import type { LogicalVolume, VolumeGroup } from '../core/volume.ts';
import { readMark } from '../core/volume.ts';
import type { Fills } from './fills.ts';
import type { Clock, Ledger, Pools, Volumes } from './ports.ts';

export interface ObserveNeeds {
  readonly pools: Pick<Pools, 'list'>;
  readonly volumes: Volumes;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly fills: Fills;
  /** Fills that are about to begin: the volumes that they are to replace are just being put aside. */
  readonly retiring: ReadonlySet<string>;
  /** Domains whose first start was refused, never to be admitted since; see PlanInput. */
  readonly firstStarts: ReadonlyMap<string, string>;
}

/** Readings may be overtaken by a fill that ends; more often than this in a row would be odd. */
const OBSERVATIONS_MAX = 5;

/** One reading of the world. */
export interface Observation {
  readonly volumes: readonly LogicalVolume[];
  readonly pools: readonly LogicalPool[];
  readonly groups: readonly VolumeGroup[];
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
  for (let count = 0; count < OBSERVATIONS_MAX; count++) {
    const settledBefore = needs.fills.settledCount;
    const [pools, { volumes, groups }] = await Promise.all([needs.pools.list(), needs.volumes.list()]);
    const located = domains.flatMap((domain) => locateVolumes(domain, pools).located);
    const blankness = await examineUnmarked(needs.volumes, volumes, located);
    if (needs.fills.settledCount !== settledBefore) continue;
    return {
      volumes,
      pools,
      groups,
      isFresh: () => needs.fills.settledCount === settledBefore,
      plan: (domain) =>
        plan({
          ...locateVolumes(domain, pools),
          domain,
          volumes,
          blankness,
          fills: needs.ledger.fills(),
          running: new Set([...needs.fills.running, ...needs.retiring]),
          firstStarts: needs.firstStarts,
          nowMs: needs.clock.nowMs(),
        }),
    };
  }
  throw new ProvisionError({
    code: 'TIMEOUT',
    message: 'The state of the volumes kept changing while it was read.',
    hint: 'Try again in a moment.',
  });
}

/** Only volumes under an annotated name and without our tags are opened and looked at. */
async function examineUnmarked(
  helper: Volumes,
  volumes: readonly LogicalVolume[],
  located: readonly LocatedVolume[],
): Promise<Map<string, Blankness>> {
  const asked = new Set(located.map(({ location }) => volumeKey(location)));
  const blankness = new Map<string, Blankness>();
  for (const volume of volumes) {
    if (!asked.has(volumeKey(volume)) || readMark(volume.tags).state !== 'unmarked') continue;
    // One that cannot be examined is not blank, and does not keep the others from being looked at.
    const examined = helper.examine(volume.vg, volume.lv).catch((error: unknown) => ({
      blank: false as const,
      why: `it could not be examined: ${toProblem(error).message}`,
    }));
    blankness.set(volumeKey(volume), await examined);
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

  constructor(pools: Pick<Pools, 'list'>, clock: Clock, limitMs: number) {
    this.#pools = pools;
    this.#clock = clock;
    this.#limitMs = limitMs;
  }

  /** Fresh if libvirt answers within the limit, else what it said last; LIBVIRT_UNAVAILABLE if it never did. */
  async list(): Promise<readonly LogicalPool[]> {
    const late = Symbol('late');
    const reading = this.#pools.list().then((pools) => (this.#last = pools));
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

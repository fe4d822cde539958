/**
 * The gate: may this domain start? Asked by the qemu hook with the domain's XML while libvirt holds the
 * domain and waits, so it is answered within the grace and a little more, whatever else is stuck, and
 * libvirt is never asked about any domain meanwhile: pools and volumes answer, domains would not.
 */
import type { ErrorCode, Problem } from '../../core/errors.ts';
import { toProblem } from '../../core/errors.ts';
import { frozenProblem } from '../../core/frozen.ts';
import type { DiskPlan, Plan } from '../../core/plan.ts';
import { isReceivable, isStartable } from '../../core/plan.ts';
import type { Domain } from '../../core/request.ts';
import { imageName } from '../../core/request.ts';
import { approximateSize } from '../../core/size.ts';
import { deleteCommand } from '../../core/volume/delete-command.ts';
import { parseDomainXml } from '../../core/xml/domain-xml.ts';
import type { HandOverNeeds } from '../keys/hand-over-keys.ts';
import { handOverKeys, hasEncryptedDisk } from '../keys/hand-over-keys.ts';
import type { Observation, ObserveNeeds } from '../observe.ts';
import { observe } from '../observe.ts';
import type { Log } from '../ports/host.ts';
import type { AdmitAnswer, GateOperation } from '../ports/verbs.ts';
import type { Reconciler } from '../reconcile.ts';
import { AnswerTime } from './answer-time.ts';
import { wishAutostart } from './start-wishes.ts';

export interface AdmitNeeds extends ObserveNeeds, HandOverNeeds {
  readonly reconciler: Reconciler;
  readonly log: Log;
  /** How long a start may be held up altogether, in ms. */
  readonly graceMs: number;
  /** Volume groups that other hosts see too. */
  readonly sharedGroups: ReadonlySet<string>;
}

/** One that was asked about a start, and has so much time to answer. */
interface Asked extends AdmitNeeds {
  readonly time: AnswerTime;
}

/** Cancel, fill, finish, claim: more turns than that are no progress. */
const TURNS_MAX = 8;
/** Decides, and begins the fill of a domain nobody has told us about before (virt-install's first start). */
export async function admitStart(
  needs: AdmitNeeds,
  operation: GateOperation,
  xml: string,
): Promise<AdmitAnswer> {
  const log = needs.log.child({ operation });
  const startedMs = needs.clock.monotonicMs();
  const time = new AnswerTime(needs.clock, needs.graceMs);
  const answer = await decide({ ...needs, time }, operation, xml).catch((error: unknown) =>
    refuseOrPassOn(error),
  );
  const tookMs = Math.round(needs.clock.monotonicMs() - startedMs);
  if (answer.allowed) log.info({ tookMs, domain: answer.domainUuid }, 'start admitted');
  else log.warn({ tookMs, domain: answer.domainUuid, problems: answer.problems }, 'start refused');
  return answer;
}

/** What only says that we could not look. */
const CANNOT_TELL: ReadonlySet<ErrorCode> = new Set([
  'LIBVIRT_UNAVAILABLE',
  'LIBVIRT_FAILED',
  'HELPER_UNAVAILABLE',
  'HELPER_FAILED',
  'CONFIG_INVALID',
  'TIMEOUT',
  'INTERNAL',
]);

/** Where nothing can be judged here the hook still can, by the seals: it is told that we cannot. */
function refuseOrPassOn(error: unknown): AdmitAnswer {
  const problem = toProblem(error);
  if (CANNOT_TELL.has(problem.code)) throw error;
  return { allowed: false, problems: [problem] };
}

async function decide(needs: Asked, operation: GateOperation, xml: string): Promise<AdmitAnswer> {
  const domain = parseDomainXml(xml);
  if (domain.annotation === undefined) return { allowed: true, problems: [], domainUuid: domain.uuid };
  // However it comes: what arrives or is restored brings bytes and memory along that nobody here has judged, and
  // neither is lost by a refusal. The guest goes on where it is, the saved memory stays saved.
  const frozen = needs.freeze.frozen();
  if (frozen !== undefined) {
    return { allowed: false, problems: [frozenProblem(frozen)], domainUuid: domain.uuid };
  }
  try {
    return await decideFor(needs, operation, domain);
  } catch (error) {
    // Where we cannot tell, the hook may let it start by its seals.
    needs.reconciler.ends.admitted(domain.uuid);
    throw error;
  }
}

async function decideFor(needs: Asked, operation: GateOperation, domain: Domain): Promise<AdmitAnswer> {
  const domainUuid = domain.uuid;
  const { reconciler, time } = needs;
  if (operation !== 'prepare') reconciler.incoming.mark(domainUuid, 'admitted');
  // If this is the autostart at boot it is not tried again by libvirt, however it ends here.
  else if (!needs.isLibvirtReachable()) wishAutostart(needs, domain);
  const isExpected = reconciler.arrivals.mayReceive(domainUuid, operation);
  const mayFill = operation === 'prepare' && !reconciler.incoming.has(domainUuid);
  // Somebody wants it now: a pause after a failure that may have passed ends here.
  if (mayFill) reconciler.pauses.end(domainUuid);
  const askedMs = needs.clock.monotonicMs();
  const first = await lookAt(needs, domain);
  // Whoever waits for libvirt meanwhile waits for our readings too: this one, and one as long after the wait.
  const waitMs = Math.max(0, needs.graceMs - 2 * (needs.clock.monotonicMs() - askedMs));
  const looked =
    mayFill && !isStartable(first.planned) ? await fillWithinGrace(needs, domain, first, waitMs) : first;
  const last = looked.planned;
  const stale = operation === 'migrate' ? last.disks.flatMap(describeStale(needs)) : [];
  if (isStartable(last) && reconciler.ends.isDeleting(domainUuid)) {
    return { allowed: false, problems: [beingDeleted(domain)], domainUuid };
  }
  const mayStart = (planned: Plan) => isStartable(planned) || (isExpected && isReceivable(planned));
  if (stale.length === 0 && mayStart(last)) {
    const refusals = await handOver(needs, looked, mayStart);
    if (refusals.length > 0) {
      if (operation !== 'prepare') reconciler.incoming.mark(domainUuid, 'refused');
      return { allowed: false, problems: refusals, domainUuid };
    }
    time.mustNotBeOver();
    if (operation === 'migrate') reconciler.arrivals.permit(domainUuid);
    reconciler.admitted(domainUuid);
    return { allowed: true, problems: [], domainUuid };
  }
  if (operation !== 'prepare') reconciler.incoming.mark(domainUuid, 'refused');
  return {
    allowed: false,
    problems: [...last.problems, ...last.disks.flatMap(describeUnready(needs, mayFill)), ...stale],
    domainUuid,
  };
}

/** Nothing that was decided for this start may have changed meanwhile. */
async function handOver(
  needs: Asked,
  { planned, observation }: Looked,
  mayStart: (planned: Plan) => boolean,
): Promise<readonly Problem[]> {
  const { domain } = planned;
  const { ends } = needs.reconciler;
  const hasKeys = hasEncryptedDisk(planned);
  // Others wait for that: it may be let through.
  if (hasKeys) ends.admitted(domain.uuid);
  const lastLook = async (): Promise<readonly Problem[]> => {
    if (ends.isDeleting(domain.uuid)) return [beingDeleted(domain)];
    const now = observation.isFresh() ? observation.plan(domain) : (await lookAt(needs, domain)).planned;
    needs.time.mustNotBeOver();
    return mayStart(now) ? [] : [changedMeanwhile(domain)];
  };
  const limitMs = needs.time.handOverMs;
  return handOverKeys(needs, planned, observation.volumes, { limitMs, lastLook });
}

function changedMeanwhile({ name }: Plan['domain']): Problem {
  return {
    code: 'VOLUME_STATE',
    message: `Something was begun with a volume of domain ${name} while its keys were being handed over.`,
    hint: 'Try again in a moment, or see what it is: lvp status.',
  };
}

function beingDeleted({ name }: Plan['domain']): Problem {
  return {
    code: 'VOLUME_STATE',
    message: `The volumes of domain ${name}, which was undefined, are being deleted at this moment, as its annotation says.`,
    hint: 'Start it again in a moment: they are filled anew then.',
  };
}

/** Does what the plan says and plans again, until nothing is under way any more or the grace is over. */
async function fillWithinGrace(needs: Asked, domain: Domain, first: Looked, waitMs: number): Promise<Looked> {
  const { reconciler } = needs;
  let looked = first;
  const grace = new AbortController();
  const time = { isOver: false };
  const graceOver = needs.clock.sleep(waitMs, grace.signal).then(
    () => {
      time.isOver = true;
    },
    () => undefined,
  );
  try {
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      reconciler.act(looked.planned, 'gate');
      await waitForFills(needs, looked.planned, graceOver);
      looked = await lookAt(needs, domain);
      // It may have ended during the reading too, and each further one takes its time.
      if (time.isOver || !isUnderWay(looked.planned)) break;
    }
  } finally {
    grace.abort();
  }
  return looked;
}

const UNDER_WAY: readonly DiskPlan['action'][] = ['fill', 'wait', 'cancel', 'finish', 'claim', 'restore'];

function isUnderWay(planned: Plan): boolean {
  return planned.problems.length === 0 && planned.disks.some(({ action }) => UNDER_WAY.includes(action));
}

/** Waits for all that this domain needs, whoever asked for it first, at most until the grace is over. */
async function waitForFills(needs: AdmitNeeds, planned: Plan, graceOver: Promise<void>): Promise<void> {
  const theirs = needs.fills.runningFor(planned.domain.uuid);
  const others = planned.disks.flatMap((disk) => (disk.action === 'wait' ? [disk.fillId] : []));
  const awaited = [...theirs, ...others];
  needs.fills.promote(awaited);
  await Promise.race([needs.fills.settled(awaited), graceOver]);
}

/** A reading, and what follows from it. */
interface Looked {
  readonly planned: Plan;
  readonly observation: Observation;
}

async function lookAt(needs: Asked, domain: Plan['domain']): Promise<Looked> {
  const observation = await needs.time.reading(observe(needs, [domain]));
  return { planned: observation.plan(domain), observation };
}

/** What to tell the person who pressed start about a disk that is not ready. */
function describeUnready(needs: AdmitNeeds, mayFill: boolean): (disk: DiskPlan) => Problem[] {
  return (disk) => {
    if (disk.action === 'none') return [];
    if (disk.action === 'refuse' || disk.action === 'hold') {
      const { code, message, hint } = disk.problem;
      return [{ code, message: `Disk ${disk.request.target}: ${message}`, hint }];
    }
    if (disk.action === 'fill' && !mayFill) {
      return [
        {
          code: 'VOLUME_STATE',
          message: `Disk ${disk.request.target}: the domain arrives by migration or restore, and its volume here is not one that was published for it.`,
          hint: 'What arrives brings its bytes along, so nothing is filled for it. Before a migration that copies the storage, set volumes aside for it: lvp handover VM on the other host, lvp receive on this one.',
        },
      ];
    }
    const where = `Disk ${disk.request.target} is being filled from ${imageName(disk.request.image)}`;
    const progress = disk.action === 'wait' ? describeProgress(needs, disk.fillId) : undefined;
    return [
      {
        code: 'VOLUME_STATE',
        message: `${where}: ${progress ?? '0 %, time left not known yet'}.`,
        hint: 'Start it again then, or see `lvp status --watch`.',
      },
    ];
  };
}

/**
 * A sealed volume that is not the very one the domain has on the other host is a copy from an earlier stay. It
 * would be written over, and if the migration failed then, half of it would still be sealed; or, without copied
 * storage, the guest would go on with what it had then.
 */
function describeStale({ sharedGroups }: AdmitNeeds): (disk: DiskPlan) => Problem[] {
  return ({ action, request, location }) => {
    const { vg, lv } = location;
    if (action !== 'none' || sharedGroups.has(vg)) return [];
    return [
      {
        code: 'VOLUME_STATE',
        message: `Disk ${request.target}: the domain arrives by migration, and its volume ${vg}/${lv} here is a copy from before.`,
        hint: `If it is not needed, delete it (${deleteCommand(location)}) and set one aside anew with lvp receive; if ${vg} is one group that both hosts see, list it in shared_volume_groups.`,
      },
    ];
  };
}

function describeProgress(needs: AdmitNeeds, fillId: string): string | undefined {
  const progress = needs.fills.progressOf(fillId);
  if (progress === undefined || progress.bytesTotal === 0) return undefined;
  const percent = Math.floor((100 * progress.bytesDone) / progress.bytesTotal);
  const left =
    progress.secondsLeft === undefined
      ? 'time left not known yet'
      : `${Math.ceil(progress.secondsLeft)} s left`;
  const what = progress.phase === 'verifying' ? 'read back, ' : '';
  return `${what}${percent} % of ${approximateSize(progress.bytesTotal)}, ${left}`;
}

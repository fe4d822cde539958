/** A plan and the progress of its fills, as people and programs are told about them. */
import type { ErrorCode, Problem } from '../../core/errors.ts';
import { describeProblem, plainProblem } from '../../core/errors.ts';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import type { DiskPlan, Plan } from '../../core/plan.ts';
import { isStartable } from '../../core/plan.ts';
import type { Verdict } from '../../core/policy/host-policy.ts';
import { describeVerdict } from '../../core/policy/host-policy.ts';
import type { DomainStatus, Explanation, VolumeStatus } from '../../core/protocol/control-protocol.ts';
import type { VolumeLocation, VolumeRequest } from '../../core/request.ts';
import { imageName } from '../../core/request.ts';
import { libvirtPool } from '../../core/thin/thin-place.ts';
import type { Fills } from '../fill/fills.ts';
import { problemsOf } from '../observe.ts';
import type { FillRecord, Ledger } from '../ports/ledger.ts';

type StateOfVolume = Omit<
  VolumeStatus,
  'target' | 'image' | 'format' | 'pool' | 'volume' | 'thinPool' | 'cloneOf' | 'key' | 'fillId' | 'updatedAt'
>;

interface StatusNeeds {
  readonly ledger: Ledger;
  readonly fills: Fills;
}

/** The present state of a domain's volumes; `active` is libvirt's word on whether it runs. */
export function statusOf(needs: StatusNeeds, planned: Plan, active: boolean): DomainStatus {
  const { domain } = planned;
  const located = planned.disks.map((disk) => volumeStatus(needs, domain.uuid, disk));
  const placed = new Set(located.map(({ target }) => target));
  const unplaced = (domain.annotation?.volumes ?? []).filter(({ target }) => !placed.has(target));
  return {
    uuid: domain.uuid,
    name: domain.name,
    active,
    startWhenReady: domain.annotation?.start === 'when-ready',
    volumes: [...located, ...unplaced.map(refusedVolume)],
    problems: planned.problems.map(plainProblem),
  };
}

/** What the planner would do now and why, and whether the gate would open. */
/** `warm`: the targets whose images are here already. */
export function explanationOf(planned: Plan, warm: ReadonlySet<string> = new Set()): Explanation {
  const { domain } = planned;
  const allowed = isStartable(planned);
  const problems = problemsOf(planned);
  const why = allowed
    ? 'all annotated volumes are sealed for this domain'
    : problems.length > 0
      ? problems.map(describeProblem).join(' ')
      : 'not all annotated volumes are filled yet';
  return {
    uuid: domain.uuid,
    name: domain.name,
    start: { allowed, why },
    steps: [
      ...planned.problems.map((problem) => ({ action: 'refuse', why: describeProblem(problem) })),
      ...planned.disks.map((disk) => ({
        target: disk.request.target,
        action: actionOf(disk),
        why: `${disk.because}${disk.action === 'fill' && warm.has(disk.request.target) ? '; its image comes from the cache' : ''}`,
        ...(disk.policy === undefined ? {} : { policy: policyOf(disk, disk.policy) }),
      })),
    ],
  };
}

const ACTIONS: Readonly<Record<DiskPlan['action'], string>> = {
  none: 'nothing to do',
  fill: 'fill',
  wait: 'wait for the running fill',
  cancel: 'end the running fill',
  finish: 'give the sealed volume its name',
  claim: 'take over what is filled already',
  restore: 'give what was put aside its name back',
  hold: 'leave as it is',
  refuse: 'refuse',
};

function actionOf(disk: DiskPlan): string {
  if (disk.action !== 'fill') return ACTIONS[disk.action];
  return {
    new: 'make a volume and fill it',
    adopt: 'take the volume over and fill it',
    resume: 'fill it again',
  }[disk.from];
}

function policyOf({ action }: DiskPlan, verdict: Verdict): string {
  const said = describeVerdict(verdict);
  return action === 'none' && !verdict.allowed ? `${said}; it is published already, and stays so` : said;
}

function volumeStatus(needs: StatusNeeds, domainUuid: string, disk: DiskPlan): VolumeStatus {
  const { request, location } = disk;
  const record = needs.ledger.fillOf(domainUuid, request.target);
  return {
    ...identityOf(request),
    pool: placeOf(location),
    volume: location.lv,
    ...(location.thinPool === undefined ? {} : { thinPool: location.thinPool }),
    ...(request.key === undefined ? {} : { key: formatKeyReference(request.key) }),
    ...(disk.cloneOf === undefined ? {} : { cloneOf: disk.cloneOf }),
    ...stateOf(needs, disk, record),
    ...(disk.aside === undefined ? {} : { aside: disk.aside }),
    ...(record === undefined
      ? {}
      : { fillId: record.fillId, updatedAt: new Date(record.updatedAtMs).toISOString() }),
  };
}

/** Libvirt's pool, or, of a thin volume, which it does not know, the volume group. */
function placeOf(location: VolumeLocation): string {
  return libvirtPool(location) ?? location.vg;
}

function stateOf(needs: StatusNeeds, disk: DiskPlan, record: FillRecord | undefined): StateOfVolume {
  switch (disk.action) {
    case 'none': {
      // Or why making it again has come to nothing.
      const problem = disk.stopped ?? (isAbout(record, disk.fillId) ? record.problem : undefined);
      return {
        state: 'ready',
        sha256: disk.sha256,
        ...(disk.drift === undefined ? {} : { drift: disk.drift }),
        ...(problem === undefined ? {} : { problem: plainProblem(problem) }),
      };
    }
    case 'restore':
      return { state: 'publishing', phase: 'restoring' };
    case 'wait':
    case 'cancel':
      return { state: record?.state ?? 'waiting', ...needs.fills.progressOf(disk.fillId) };
    case 'fill':
    case 'finish':
    case 'claim':
      return { state: 'planned' };
    case 'hold':
      return {
        state: HELD_STATES[disk.problem.code] ?? 'failed',
        problem: plainProblem(disk.problem),
      };
    case 'refuse':
      return { state: 'refused', problem: plainProblem(withReason(disk, record)) };
  }
}

/** The row of the volume itself, or, until that has been written, of the fill that was to take its place. */
function isAbout(record: FillRecord | undefined, fillId: string): record is FillRecord {
  return record?.fillId === fillId || record?.replaces === fillId;
}

/** Why making it again, which is what another generation asks for, has come to nothing. */
function withReason(
  { problem, sealed }: Extract<DiskPlan, { action: 'refuse' }>,
  record: FillRecord | undefined,
): Problem {
  if (sealed === undefined || !isAbout(record, sealed.fillId) || record.problem === undefined) return problem;
  const hint = [problem.hint, `It was tried: ${describeProblem(record.problem)}`].join(' ');
  return { ...problem, hint };
}

function identityOf(request: VolumeRequest): Pick<VolumeStatus, 'target' | 'image' | 'format'> {
  return { target: request.target, image: imageName(request.image), format: request.format };
}

/** A disk whose volume cannot be said; the domain's problems tell why. */
function refusedVolume(request: VolumeRequest): VolumeStatus {
  return { ...identityOf(request), pool: '', volume: '', state: 'refused' };
}

const HELD_STATES: Readonly<Partial<Record<ErrorCode, VolumeStatus['state']>>> = {
  CANCELLED: 'cancelled',
  POOL_INACTIVE: 'held',
};

/**
 * The one place that decides. plan() is given everything that was read (domain, volumes with their tags,
 * ledger rows, which fills run right now) and answers, for each annotated disk, what is to be done about it
 * and why. It reads nothing, waits for nothing and changes nothing, so `lvp explain` can show its answer.
 *
 * The order of proof: tags on the volume, then the ledger, then a provably blank volume. What none of them
 * proves is refused.
 */
import type { Problem } from './errors.ts';
import { isPassing } from './errors.ts';
import type { HostPolicy, Verdict } from './host-policy.ts';
import { judgeFill, judgePlace } from './host-policy.ts';
import { mayComeToClaim, objectionsToClaim } from './claim.ts';
import type { KeyState } from './key-change.ts';
import { keyStateProblem } from './key-change.ts';
import { formatKeyReference } from './key-reference.ts';
import { deleteCommand } from './delete-command.ts';
import type { LocatedVolume } from './locate.ts';
import { describeOwner, isJob, jobIdOf } from './owner.ts';
import type { PlannedFill } from './planned-fill.ts';
import { goesOn, isUnfinished, sameRequest, volumeKey } from './planned-fill.ts';
import type { Domain, VolumeRequest } from './request.ts';
import { RETRY_MAX_MS } from './retry-pause.ts';
import { sayOfAside, withAside } from './aside-of-disk.ts';
import { asidesOf } from './retired.ts';
import type { FillMark, LogicalVolume, ReceivingMark, Seal } from './volume.ts';
import { fillIdOf, imageTag, privateName, readMark } from './volume.ts';
import { libvirtPool, originOfClone } from './thin-place.ts';

/** Why an existing volume may or may not be taken over. */
export type Blankness = { readonly blank: true } | { readonly blank: false; readonly why: string };

/** Everything that was read before deciding. */
export interface PlanInput {
  readonly domain: Domain;
  readonly located: readonly LocatedVolume[];
  readonly problems: readonly Problem[];
  /** At least those under the located names, and those under names of ours that were made for these or had them. */
  readonly volumes: readonly LogicalVolume[];
  /** Result of examining unmarked volumes under annotated names, by `VG/LV`. */
  readonly blankness: ReadonlyMap<string, Blankness>;
  /** At least the ledger's rows of this domain, and those of other domains for its volumes. */
  readonly fills: readonly PlannedFill[];
  /** Fills queued or running in this process. */
  readonly running: ReadonlySet<string>;
  /**
   * Domains by UUID, with their names, whose first start was refused and that were never admitted since: what
   * is filled for them no guest has ever seen.
   */
  readonly firstStarts: ReadonlyMap<string, string>;
  /** Inactive pools by name: nothing is begun in them. */
  readonly stoppedPools: ReadonlyMap<string, Problem>;
  /** Undefined: whatever is asked for is filled. */
  readonly hostPolicy: HostPolicy | undefined;
  /** Of encrypted volumes whose keys are being changed or are gone, by the fill of their seals. */
  readonly keyStates: ReadonlyMap<string, KeyState>;
  /** Which disk of another domain has the key of one of these, by that key; see formatKeyReference(). */
  readonly keysElsewhere: ReadonlyMap<string, { readonly domainUuid: string; readonly says: string }>;
  readonly nowMs: number;
}

/** How a fill gets its private volume. */
export type FillFrom = 'new' | 'adopt' | 'resume';

export type DiskDecision =
  /** Sealed for this domain; `drift` says how the seal differs from the annotation, if it does. */
  | {
      readonly action: 'none';
      readonly fillId: string;
      readonly sha256: string;
      readonly drift?: string | undefined;
    }
  | { readonly action: 'fill'; readonly from: FillFrom; readonly fillId?: string | undefined }
  /** A fill is queued or running. */
  | { readonly action: 'wait'; readonly fillId: string }
  /** The annotation changed under a running fill: end it, then plan again. */
  | { readonly action: 'cancel'; readonly fillId: string; readonly why: string }
  /** The volume is sealed but still has its private name: only the rename is missing. */
  | { readonly action: 'finish'; readonly fillId: string; readonly seal: Seal }
  /** Sealed for a first start that was refused, and the same guest has come back under another UUID; or for a job. */
  | { readonly action: 'claim'; readonly fillId: string; readonly seal: Seal }
  /** What was put aside to be made again gets its name back: making it again has failed, or nobody wants it. */
  | { readonly action: 'restore'; readonly fillId: string }
  /** Failed or cancelled before; tried again at `retryAtMs`, or only by hand if absent. */
  | { readonly action: 'hold'; readonly problem: Problem; readonly retryAtMs?: number | undefined }
  | {
      readonly action: 'refuse';
      readonly problem: Problem;
      /** The volume is sealed for this domain all the same, but for another generation than is asked for. */
      readonly sealed?: Pick<Seal, 'fillId' | 'sha256'> | undefined;
      /** It is set aside for this domain, and a migration that was announced is let in. */
      readonly receives?: true | undefined;
    };

export type DiskPlan = LocatedVolume &
  DiskDecision & {
    readonly because: string;
    /** `VG/LV` of what the volume held before it was made again, if that is still there. */
    readonly aside?: string | undefined;
    /** Its pool is inactive: libvirt starts no guest on it, whatever the volume holds. */
    readonly stopped?: Problem | undefined;
    /** `VG/LV` of the golden volume that the volume is a clone of, while that is still there. */
    readonly cloneOf?: string | undefined;
    /** What this host's policy says of filling it; of no account for what is sealed. */
    readonly policy?: Verdict | undefined;
  };

export interface Plan {
  readonly domain: Domain;
  readonly disks: readonly DiskPlan[];
  /** Mistakes of the annotation or of disks: while there are any, nothing starts and nothing is filled. */
  readonly problems: readonly Problem[];
}

export function plan(input: PlanInput): Plan {
  const disks = input.located.map((disk): DiskPlan => {
    const policy = judgeDisk(input, disk);
    const refusal = policy?.allowed === false ? policy.problem : undefined;
    const [decision, because] = refuseUsedKey(input, disk, decideDisk(input, disk, refusal));
    const [aside] = asidesOf(input.volumes, disk.location);
    const stopped = stoppedPoolOf(input, disk);
    const cloneOf = originOfClone(volumeOf(input, disk));
    return {
      ...{
        ...disk,
        ...decision,
        because: cloneOf === undefined ? because : `${because}; it is a clone of ${cloneOf}`,
      },
      ...(cloneOf !== undefined && { cloneOf }),
      ...(aside && { aside: volumeKey(aside.volume) }),
      ...(stopped && { stopped }),
      ...(policy && { policy }),
    };
  });
  return { domain: input.domain, disks, problems: input.problems };
}

/** True if every annotated disk is proven finished: the only condition under which a guest may start. */
export function isStartable(planned: Plan): boolean {
  return planned.problems.length === 0 && planned.disks.every((disk) => disk.action === 'none');
}

/** True if every annotated disk is finished or set aside to receive what the domain brings along. */
export function isReceivable(planned: Plan): boolean {
  return (
    planned.problems.length === 0 &&
    planned.disks.every(
      (disk) => disk.action === 'none' || (disk.action === 'refuse' && disk.receives === true),
    )
  );
}

type Decided = readonly [DiskDecision, string];

/**
 * One key for one volume: whoever may read it could open the other one, too. What is sealed already is not stopped
 * for that.
 */
function refuseUsedKey(input: PlanInput, { request, location }: LocatedVolume, decided: Decided): Decided {
  const [decision, because] = decided;
  if (decision.action !== 'fill' || request.key === undefined) return decided;
  const key = formatKeyReference(request.key);
  const other = input.keysElsewhere.get(key);
  if (other !== undefined && !isEarlierTry(input, other.domainUuid)) {
    return refuse(
      'KEY_IN_USE',
      `The key ${key} is that of ${other.says} already, and each volume has a key of its own.`,
      'Make another one (lvp key create) and name it in the annotation.',
    );
  }
  const { thinPool } = location;
  return thinPool === undefined
    ? decided
    : [decision, `${because}; it is encrypted, so it is written to ${thinPool} and is no clone`];
}

/** What a job has filled, and what is known of the disk that asks for it. */
interface SealedByJob {
  readonly volume: LogicalVolume;
  readonly seal: Seal;
  readonly record: PlannedFill | undefined;
}

/**
 * What is there already counts with its size: nobody makes it smaller; and for whoever claims it from a job it is
 * judged anew. What is to arrive is not filled by us.
 */
function judgeDisk({ hostPolicy, domain, ...input }: PlanInput, disk: LocatedVolume): Verdict | undefined {
  if (hostPolicy === undefined) return undefined;
  const { request, location } = disk;
  const found = volumeOf(input, disk);
  const mark = found === undefined ? undefined : readMark(found.tags);
  if (mark?.state === 'receiving') return judgePlace(hostPolicy, domain, request.target, location);
  const isJudgedBefore = mark?.state === 'ready' && !isJob(mark.domainUuid);
  const foundBytes = found === undefined || isJudgedBefore ? 0 : found.sizeBytes;
  return judgeFill(hostPolicy, domain, disk, Math.max(request.sizeBytes ?? 0, foundBytes));
}

function volumeOf(
  { volumes }: Pick<PlanInput, 'volumes'>,
  { location }: LocatedVolume,
): LogicalVolume | undefined {
  return volumes.find((volume) => volumeKey(volume) === volumeKey(location));
}

function recordOf({ domain, fills }: PlanInput, { request }: LocatedVolume): PlannedFill | undefined {
  return fills.find(
    ({ domainUuid, request: { target } }) => domainUuid === domain.uuid && target === request.target,
  );
}

/** `refusal` is that of this host's policy; what is published, or only lacks its name, is no matter of it. */
function decideDisk(input: PlanInput, disk: LocatedVolume, refusal: Problem | undefined): Decided {
  const other = fillOfOtherDomain(input, disk);
  if (other !== undefined) return decideFilledForOther(input, disk, other, refusal);
  const found = volumeOf(input, disk);
  const mark = found === undefined ? undefined : readMark(found.tags);
  if (mark?.state === 'ready' && input.running.has(mark.fillId)) {
    return [{ action: 'wait', fillId: mark.fillId }, 'it is published, and libvirt is being told'];
  }
  const record = recordOf(input, disk);
  if (mark?.state === 'ready' && record?.replaces === mark.fillId && input.running.has(record.fillId)) {
    return [{ action: 'wait', fillId: record.fillId }, 'it is being put aside, to be made again'];
  }
  if (found !== undefined && mark?.state === 'ready') {
    const barred = refuseByKey(input, disk, mark);
    if (barred !== undefined) return barred;
    return isSealedByJob(input, mark)
      ? decideSealedByJob(input, disk, { volume: found, seal: mark, record })
      : decideSealed(input, disk, mark, refusal);
  }
  if (mark?.state === 'unclear') return refuseUnclear(disk, mark.why);
  if (mark?.state === 'receiving') return decideReceiving(input, disk, mark, refusal);
  const unfinished = unfinishedVolume(input, disk);
  const isSealed = unfinished?.mark.state === 'ready';
  const running = decideRunning(input, disk, record, isSealed ? undefined : refusal);
  if (running !== undefined) return running;
  const held = decideHeld(input, disk, record);
  const stopped = stoppedPoolOf(input, disk);
  if (stopped !== undefined) {
    return (
      held ?? [
        { action: 'hold', problem: stopped },
        'its pool is stopped; it goes on when the pool is started',
      ]
    );
  }
  if (unfinished?.mark.state === 'ready') {
    // Its publishing has failed before: not again without a pause.
    if (held !== undefined && record?.state === 'failed' && record.fillId === unfinished.fillId) return held;
    const { fillId, mark: seal } = unfinished;
    return [{ action: 'finish', fillId, seal }, 'the volume is sealed and only lacks its final name'];
  }
  // One that is refused gives what was put aside for it its name back.
  const aside = decideAside(input, disk, refusal === undefined ? record : undefined, found === undefined);
  if (aside !== undefined) return aside;
  // That a published volume is gone is the greater news.
  if (refusal !== undefined && record?.state !== 'ready') return refuseByPolicy(refusal);
  if (held !== undefined) return held;
  if (refusal !== undefined) return refuseByPolicy(refusal);
  if (mark?.state === 'filling') return decideHalfAdopted(input, disk, mark);
  if (mark?.state === 'unmarked') {
    const refused = refuseNotBlank(input, disk);
    if (refused !== undefined) return refused;
  }
  if (unfinished !== undefined) {
    return [
      { action: 'fill', from: 'resume', fillId: unfinished.fillId },
      'an interrupted fill left its private volume, in which it goes on',
    ];
  }
  return mark === undefined
    ? [{ action: 'fill', from: 'new' }, `there is no volume ${volumeKey(disk.location)} yet`]
    : [{ action: 'fill', from: 'adopt' }, `volume ${volumeKey(disk.location)} exists and is blank`];
}

/** A thin volume needs none. */
function stoppedPoolOf({ stoppedPools }: PlanInput, { location }: LocatedVolume): Problem | undefined {
  return stoppedPools.get(libvirtPool(location) ?? '');
}

function fillOfOtherDomain(input: PlanInput, disk: LocatedVolume): PlannedFill | undefined {
  return input.fills.find(
    (fill) =>
      fill.domainUuid !== input.domain.uuid &&
      volumeKey(fill.location) === volumeKey(disk.location) &&
      (input.running.has(fill.fillId) || isUnfinished(fill.state)),
  );
}

/** It is waited for by whoever will claim it. */
function decideFilledForOther(
  input: PlanInput,
  disk: LocatedVolume,
  other: PlannedFill,
  refusal: Problem | undefined,
): Decided {
  const { domainUuid: owner, domainName, fillId } = other;
  const isFirstTry = isEarlierTry(input, owner) && sameRequest(other.request, disk.request);
  const isJobs = isJob(owner) && !isJob(input.domain.uuid) && mayComeToClaim(other.request, disk.request);
  if (!isFirstTry && !isJobs) {
    return refuseOther(disk, `being filled for ${describeOwner(owner, domainName)}`, owner);
  }
  if (refusal !== undefined) return refuseByPolicy(refusal);
  const since = isJobs ? `by ${describeOwner(owner)}` : 'since an earlier try to start this guest';
  return [{ action: 'wait', fillId }, `it is being filled ${since}`];
}

/** Nobody can open it any more, or its key is being changed. It stays that domain's all the same. */
function refuseByKey({ domain, keyStates }: PlanInput, disk: LocatedVolume, seal: Seal): Decided | undefined {
  const problem = keyStateProblem(keyStates.get(seal.fillId), volumeKey(disk.location));
  if (problem === undefined) return undefined;
  const sealed = seal.domainUuid === domain.uuid ? { fillId: seal.fillId, sha256: seal.sha256 } : undefined;
  return [{ action: 'refuse', problem, sealed }, problem.message];
}

/** No domain has claimed it yet, and it is a domain that asks. */
function isSealedByJob({ domain }: PlanInput, seal: Seal): boolean {
  return isJob(seal.domainUuid) && !isJob(domain.uuid);
}

function decideSealedByJob(
  input: PlanInput,
  disk: LocatedVolume,
  { volume, seal, record }: SealedByJob,
): Decided {
  const name = `Volume ${volumeKey(disk.location)} was filled by ${describeOwner(seal.domainUuid)}`;
  const verdict = judgeDisk(input, disk);
  // To give it to this domain is as good as filling it for this domain.
  if (verdict?.allowed === false) return refuseByPolicy(verdict.problem);
  const objections = objectionsToClaim(seal, disk.request, volume.sizeBytes, verdict?.rule.require);
  if (objections.length > 0) {
    return refuse(
      'VOLUME_OF_OTHER_DOMAIN',
      `${name} and is not what the annotation asks for: ${objections.join('; ')}.`,
      `It was left untouched. Change the annotation, give the disk another volume, or delete the volume (${deleteCommand(disk.location)}) to have it filled for this domain.`,
    );
  }
  const stopped = stoppedPoolOf(input, disk);
  if (stopped !== undefined) {
    return [{ action: 'hold', problem: stopped }, 'its pool is stopped; it goes on when the pool is started'];
  }
  // Somebody had it open who has closed it since.
  const mayTryAgain = record?.state === 'failed' && record.problem?.code === 'VOLUME_STATE' && !volume.open;
  const held = mayTryAgain ? undefined : decideHeld(input, disk, record);
  return (
    held ?? [
      { action: 'claim', fillId: seal.fillId, seal },
      `${describeOwner(seal.domainUuid)} has filled it with what the annotation asks for`,
    ]
  );
}

function decideSealed(
  input: PlanInput,
  disk: LocatedVolume,
  seal: Seal,
  refusal: Problem | undefined,
): Decided {
  const { request } = disk;
  if (isCutOffInactive(input, disk, seal)) {
    const record = recordOf(input, disk);
    const held = record?.state === 'failed' ? decideHeld(input, disk, record) : undefined;
    return (
      held ?? [{ action: 'finish', fillId: seal.fillId, seal }, 'it is published, but for its activation']
    );
  }
  if (seal.domainUuid !== input.domain.uuid) {
    if (!isEarlierTry(input, seal.domainUuid) || !isSealFor(seal, request)) {
      return refuseOther(disk, `published for ${describeOwner(seal.domainUuid)}`, seal.domainUuid);
    }
    // To give it to this domain is as good as filling it for this domain.
    if (refusal !== undefined) return refuseByPolicy(refusal);
    return [
      { action: 'claim', fillId: seal.fillId, seal },
      'it was filled for an earlier try to start this guest',
    ];
  }
  if (!isEncryptedAs(seal, request)) return refuseEncryption(disk, seal);
  if (seal.generation !== request.generation) {
    const [decision, because] = refuseGeneration(input, disk, seal);
    return [{ ...decision, sealed: { fillId: seal.fillId, sha256: seal.sha256 } }, because];
  }
  const drifts = [
    ...(seal.image === imageTag(request.image) ? [] : [`the volume was filled from ${seal.image}`]),
    ...(request.sha256 === undefined || request.sha256 === seal.sha256
      ? []
      : [`the volume was filled from an image with SHA-256 ${seal.sha256}`]),
  ];
  const drift =
    drifts.length === 0
      ? undefined
      : `${drifts.join(', ')}; the annotation has changed since (\`lvp reprovision ${input.domain.name} ${request.target}\` makes the content again)`;
  return [
    { action: 'none', fillId: seal.fillId, sha256: seal.sha256, drift },
    [
      drift ?? 'the volume is sealed with what the annotation asks for',
      ...(input.keyStates.get(seal.fillId) === 'unfinished'
        ? ['its key is being replaced, which goes on by itself while the domain is stopped']
        : []),
    ].join('; '),
  ];
}

/**
 * A thin volume gets its name before its node. Once the ledger has called it ready, whoever deactivates it has
 * reasons.
 */
function isCutOffInactive(input: PlanInput, disk: LocatedVolume, seal: Seal): boolean {
  const found = volumeOf(input, disk);
  const record = recordOf(input, disk);
  return (
    found?.thinPool !== undefined &&
    !found.active &&
    seal.domainUuid === input.domain.uuid &&
    record?.fillId === seal.fillId &&
    record.state !== 'ready'
  );
}

function decideReceiving(
  input: PlanInput,
  disk: LocatedVolume,
  mark: ReceivingMark,
  refusal: Problem | undefined,
): Decided {
  if (mark.domainUuid !== input.domain.uuid) {
    return refuseOther(disk, `set aside for domain ${mark.domainUuid}, which is to arrive`);
  }
  if (!isEncryptedAs(mark, disk.request)) return refuseEncryption(disk, mark);
  if (mark.generation !== disk.request.generation) return refuseGeneration(input, disk, mark);
  // Whoever handed it over may have said another name.
  if (refusal !== undefined) return refuseByPolicy(refusal);
  const because = `Volume ${volumeKey(disk.location)} is set aside to receive what this domain brings along by migration.`;
  const problem: Problem = {
    code: 'VOLUME_STATE',
    message: because,
    hint: 'Migrate the domain to this host; it is sealed once the guest runs here. If the domain does not come, delete the volume (virsh vol-delete).',
  };
  return [{ action: 'refuse', problem, receives: true }, because];
}

/** virt-install and virt-manager invent a new UUID at every try; the name is the same. */
function isEarlierTry(input: PlanInput, domainUuid: string): boolean {
  return input.firstStarts.get(domainUuid) === input.domain.name;
}

function isSealFor(seal: Seal, request: VolumeRequest): boolean {
  const isSameDigest = request.sha256 === undefined || request.sha256 === seal.sha256;
  return (
    isSameDigest &&
    isEncryptedAs(seal, request) &&
    seal.image === imageTag(request.image) &&
    seal.generation === request.generation
  );
}

/** Which key it was does not matter: it may have been replaced since, and the gate tries it. */
function isEncryptedAs({ encryption }: Pick<Seal, 'encryption'>, { key }: VolumeRequest): boolean {
  return (encryption !== undefined) === (key !== undefined);
}

function refuseEncryption({ location }: LocatedVolume, { encryption }: Pick<Seal, 'encryption'>): Decided {
  const [is, wanted] = encryption === undefined ? ['not encrypted', 'is'] : ['encrypted', 'is not'];
  return refuse(
    'VOLUME_STATE',
    `Volume ${volumeKey(location)} is ${is}, and its disk ${wanted}.`,
    'It was left untouched. Have the disk say what the volume is; or, to have it made anew, delete it (virsh vol-delete) and run `lvp retry`.',
  );
}

function decideRunning(
  input: PlanInput,
  disk: LocatedVolume,
  record: PlannedFill | undefined,
  refusal: Problem | undefined,
): Decided | undefined {
  if (record === undefined || !input.running.has(record.fillId)) return undefined;
  if (refusal !== undefined) {
    const why = "this host's policy does not let it be filled for the domain under its present name";
    return [{ action: 'cancel', fillId: record.fillId, why }, refusal.message];
  }
  const sameVolume = volumeKey(record.location) === volumeKey(disk.location);
  if (sameVolume && sameRequest(record.request, disk.request)) {
    return [{ action: 'wait', fillId: record.fillId }, 'it is being filled'];
  }
  return [
    { action: 'cancel', fillId: record.fillId, why: 'the annotation was changed during the fill' },
    'the annotation was changed during the fill, which is ended and begun again',
  ];
}

/** A private volume made for this disk, by whichever fill. Its tags alone say so: the ledger may be lost. */
function unfinishedVolume(
  input: PlanInput,
  disk: LocatedVolume,
): { readonly fillId: string; readonly mark: FillMark | Seal } | undefined {
  for (const volume of input.volumes) {
    const fillId = fillIdOf(volume.lv);
    if (volume.vg !== disk.location.vg || fillId === undefined || volume.lv !== privateName(fillId)) continue;
    const mark = readMark(volume.tags);
    if (mark.state !== 'ready' && mark.state !== 'filling') continue;
    if (mark.fillId !== fillId || mark.target !== disk.location.lv || mark.domainUuid !== input.domain.uuid)
      continue;
    if (mark.state === 'filling' && !isResumable(input, disk, fillId)) continue;
    if (mark.state === 'filling' && !isEncryptedAs(mark, disk.request)) continue;
    return { fillId, mark };
  }
  return undefined;
}

/** An interrupted fill is resumed only if the ledger knows it and the request is still the same. */
function isResumable(input: PlanInput, disk: LocatedVolume, fillId: string): boolean {
  const record = input.fills.find((fill) => fill.fillId === fillId);
  return record !== undefined && goesOn(record) && sameRequest(record.request, disk.request);
}

function decideHeld(
  input: PlanInput,
  disk: LocatedVolume,
  record: PlannedFill | undefined,
): Decided | undefined {
  if (record === undefined || volumeKey(record.location) !== volumeKey(disk.location)) return undefined;
  if (record.state === 'ready') {
    const problem: Problem = {
      code: 'VOLUME_MISSING',
      message: `Volume ${volumeKey(disk.location)} was published for this domain and is gone or was replaced by one without our seal.`,
      hint: 'If its content is to be made again from the image, run `lvp retry`.',
    };
    return [{ action: 'hold', problem }, 'a published volume is never made again unasked'];
  }
  if (!sameRequest(record.request, disk.request)) return undefined;
  if (record.state === 'cancelled') {
    const problem: Problem = {
      code: 'CANCELLED',
      message: 'The fill was cancelled.',
      hint: 'Run `lvp retry` to begin it again.',
    };
    return [{ action: 'hold', problem }, 'the fill was cancelled by hand'];
  }
  if (record.state !== 'failed' || record.problem === undefined) return undefined;
  if (!isPassing(record.problem)) {
    return [
      { action: 'hold', problem: record.problem },
      'it failed for a reason that does not pass by itself',
    ];
  }
  const { retryAtMs } = record;
  // Further away than any pause: the clock was set back.
  const pauseMs = (retryAtMs ?? 0) - input.nowMs;
  if (pauseMs <= 0 || pauseMs > RETRY_MAX_MS) return undefined;
  return [
    {
      action: 'hold',
      problem: record.replaces === undefined ? record.problem : withAside(record.problem, input.domain.name),
      retryAtMs,
    },
    'it failed and is tried again after a pause',
  ];
}

function decideAside(
  input: PlanInput,
  disk: LocatedVolume,
  record: PlannedFill | undefined,
  isNameFree: boolean,
): Decided | undefined {
  const { volumes, domain } = input;
  const said = sayOfAside({ ...disk, volumes, domainUuid: domain.uuid, record, isNameFree });
  if (said === undefined) return undefined;
  if ('forOther' in said) return refuseOther(disk, said.forOther);
  if ('refused' in said) return refuse('VOLUME_STATE', said.refused, said.hint);
  return [
    { action: 'restore', fillId: said.restore },
    'it was put aside to be made again, which is over, so it gets its name back',
  ];
}

function decideHalfAdopted(input: PlanInput, disk: LocatedVolume, mark: FillMark): Decided {
  if (mark.domainUuid !== input.domain.uuid)
    return refuseOther(disk, `being filled for ${describeOwner(mark.domainUuid)}`);
  return [
    { action: 'fill', from: 'adopt', fillId: mark.fillId },
    'taking over the blank volume was interrupted and goes on',
  ];
}

function refuseNotBlank(input: PlanInput, disk: LocatedVolume): Decided | undefined {
  const examined = input.blankness.get(volumeKey(disk.location));
  if (examined?.blank === true) return undefined;
  const why = examined?.why ?? 'it could not be examined';
  return refuse(
    'VOLUME_NOT_BLANK',
    `Volume ${volumeKey(disk.location)} exists, was not made by this program and is not blank: ${why}.`,
    `It was left untouched. Delete it (${deleteCommand(disk.location)}) if its content is not needed; take the disk out of the annotation if it is to be used as it is; or give the disk another volume.`,
  );
}

function refuseByPolicy(problem: Problem): Decided {
  return [{ action: 'refuse', problem }, problem.message];
}

function refuseUnclear(disk: LocatedVolume, why: string): Decided {
  return refuse(
    'VOLUME_STATE',
    `Volume ${volumeKey(disk.location)} carries tags of this program that do not belong together: ${why}.`,
    'They were changed by hand. Remove the lvp: tags if the volume is not needed, then run `lvp retry`.',
  );
}

function refuseGeneration(
  { domain }: PlanInput,
  disk: LocatedVolume,
  { generation }: Pick<Seal, 'generation'>,
): ReturnType<typeof refuse> {
  const { location, request } = disk;
  return refuse(
    'VOLUME_GENERATION',
    `Volume ${volumeKey(location)} holds generation ${generation}, the annotation of ${request.target} asks for generation ${request.generation}.`,
    `A published volume is never written again unasked: set the generation back, or run \`lvp reprovision ${domain.name} ${request.target}\` to have its content made again; what it holds now is lost.`,
  );
}

function refuseOther(disk: LocatedVolume, how: string, owner = ''): Decided {
  const jobId = jobIdOf(owner);
  return refuse(
    'VOLUME_OF_OTHER_DOMAIN',
    `Volume ${volumeKey(disk.location)} is ${how}.`,
    jobId === undefined
      ? 'One volume belongs to one domain: give this disk another volume, keep the old UUID in the domain XML (virt-install: --metadata uuid=UUID), or delete the volume first.'
      : `Use another volume, or end the job (lvp job cancel ${jobId}) or delete what it has filled (${deleteCommand(disk.location)}) first.`,
  );
}

function refuse(
  code: Problem['code'],
  message: string,
  hint: string,
): readonly [Extract<DiskDecision, { action: 'refuse' }>, string] {
  return [{ action: 'refuse', problem: { code, message, hint } }, message];
}

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
import type { LocatedVolume } from './locate.ts';
import type { Domain, VolumeLocation, VolumeRequest } from './request.ts';
import { imageName } from './request.ts';
import type { FillMark, LogicalVolume, Seal } from './volume.ts';
import { fillIdOf, imageTag, privateName, readMark } from './volume.ts';

/** Why an existing volume may or may not be taken over. */
export type Blankness = { readonly blank: true } | { readonly blank: false; readonly why: string };

/** Where a fill stands, as the ledger keeps it. */
export type FillState = 'waiting' | 'filling' | 'publishing' | 'ready' | 'failed' | 'cancelled';

/** What the planner needs of a ledger row. */
export interface PlannedFill {
  readonly fillId: string;
  readonly domainUuid: string;
  readonly domainName: string;
  readonly request: VolumeRequest;
  readonly location: VolumeLocation;
  readonly state: FillState;
  readonly retryAtMs?: number | undefined;
  readonly problem?: Problem | undefined;
}

/** Everything that was read before deciding. */
export interface PlanInput {
  readonly domain: Domain;
  readonly located: readonly LocatedVolume[];
  readonly problems: readonly Problem[];
  readonly volumes: readonly LogicalVolume[];
  /** Result of examining unmarked volumes under annotated names, by `VG/LV`. */
  readonly blankness: ReadonlyMap<string, Blankness>;
  /** All rows of the ledger, also of other domains. */
  readonly fills: readonly PlannedFill[];
  /** Fills queued or running in this process. */
  readonly running: ReadonlySet<string>;
  readonly nowMs: number;
}

/** How a fill gets its private volume. */
export type FillFrom = 'new' | 'adopt' | 'resume';

export type DiskDecision =
  /** Sealed for this domain; `drift` says how the seal differs from the annotation, if it does. */
  | { readonly action: 'none'; readonly sha256: string; readonly drift?: string | undefined }
  | { readonly action: 'fill'; readonly from: FillFrom; readonly fillId?: string | undefined }
  /** A fill is queued or running. */
  | { readonly action: 'wait'; readonly fillId: string }
  /** The annotation changed under a running fill: end it, then plan again. */
  | { readonly action: 'cancel'; readonly fillId: string; readonly why: string }
  /** The volume is sealed but still has its private name: only the rename is missing. */
  | { readonly action: 'finish'; readonly fillId: string; readonly seal: Seal }
  /** Failed or cancelled before; tried again at `retryAtMs`, or only by hand if absent. */
  | { readonly action: 'hold'; readonly problem: Problem; readonly retryAtMs?: number | undefined }
  | { readonly action: 'refuse'; readonly problem: Problem };

export type DiskPlan = LocatedVolume & DiskDecision & { readonly because: string };

export interface Plan {
  readonly domain: Domain;
  readonly disks: readonly DiskPlan[];
  /** Mistakes of the annotation or of disks: while there are any, nothing starts and nothing is filled. */
  readonly problems: readonly Problem[];
}

/** `VG/LV`, the key of maps over volumes. */
export function volumeKey(location: { readonly vg: string; readonly lv: string }): string {
  return `${location.vg}/${location.lv}`;
}

export function plan(input: PlanInput): Plan {
  const disks = input.located.map((disk): DiskPlan => {
    const [decision, because] = decideDisk(input, disk);
    return { ...disk, ...decision, because };
  });
  return { domain: input.domain, disks, problems: input.problems };
}

/** True if every annotated disk is proven finished: the only condition under which a guest may start. */
export function isStartable(planned: Plan): boolean {
  return planned.problems.length === 0 && planned.disks.every((disk) => disk.action === 'none');
}

/** True if both ask for the same bytes in the same size. */
export function sameRequest(a: VolumeRequest, b: VolumeRequest): boolean {
  return (
    imageName(a.image) === imageName(b.image) &&
    a.format === b.format &&
    a.compression === b.compression &&
    a.sha256 === b.sha256 &&
    a.sha512 === b.sha512 &&
    a.version === b.version &&
    a.sizeBytes === b.sizeBytes &&
    a.generation === b.generation
  );
}

/** Private volumes that no ledger row and no running fill accounts for: left behind, and ours to remove. */
export function planReclaim(input: Pick<PlanInput, 'volumes' | 'fills' | 'running'>): LogicalVolume[] {
  const alive = new Set([...input.running]);
  for (const fill of input.fills) {
    if (goesOn(fill)) alive.add(fill.fillId);
  }
  return input.volumes.filter((volume) => {
    const fillId = fillIdOf(volume.lv);
    if (fillId === undefined || alive.has(fillId)) return false;
    const mark = readMark(volume.tags);
    return mark.state === 'filling' && mark.fillId === fillId;
  });
}

type Decided = readonly [DiskDecision, string];

function decideDisk(input: PlanInput, disk: LocatedVolume): Decided {
  const other = fillOfOtherDomain(input, disk);
  if (other !== undefined) return refuseOther(disk, `being filled for domain ${other.domainName}`);
  const found = input.volumes.find((volume) => volumeKey(volume) === volumeKey(disk.location));
  const mark = found === undefined ? undefined : readMark(found.tags);
  if (mark?.state === 'ready') return decideSealed(input, disk, mark);
  if (mark?.state === 'unclear') {
    return refuse(
      'VOLUME_STATE',
      `Volume ${volumeKey(disk.location)} carries tags of this program that do not belong together: ${mark.why}.`,
      'They were changed by hand. Remove the lvp: tags if the volume is not needed, then run `lvp retry`.',
    );
  }
  const record = input.fills.find((fill) => isFor(fill, input.domain.uuid, disk.request.target));
  const running = decideRunning(input, disk, record);
  if (running !== undefined) return running;
  const unfinished = unfinishedVolume(input, disk);
  if (unfinished?.mark.state === 'ready') {
    const { fillId, mark: seal } = unfinished;
    return [{ action: 'finish', fillId, seal }, 'the volume is sealed and only lacks its final name'];
  }
  const held = decideHeld(input, disk, record);
  if (held !== undefined) return held;
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

function isFor(fill: PlannedFill, domainUuid: string, target: string): boolean {
  return fill.domainUuid === domainUuid && fill.request.target === target;
}

function fillOfOtherDomain(input: PlanInput, disk: LocatedVolume): PlannedFill | undefined {
  return input.fills.find(
    (fill) =>
      fill.domainUuid !== input.domain.uuid &&
      volumeKey(fill.location) === volumeKey(disk.location) &&
      (input.running.has(fill.fillId) || goesOn(fill)),
  );
}

function decideSealed(input: PlanInput, disk: LocatedVolume, seal: Seal): Decided {
  if (seal.domainUuid !== input.domain.uuid)
    return refuseOther(disk, `published for domain ${seal.domainUuid}`);
  const { request } = disk;
  if (seal.generation !== request.generation) {
    return refuse(
      'VOLUME_GENERATION',
      `Volume ${volumeKey(disk.location)} holds generation ${seal.generation}, the annotation of ${disk.request.target} asks for generation ${request.generation}.`,
      'A published volume is never written again: set the generation back, or delete the volume (virsh vol-delete) and run `lvp retry` to have it filled anew.',
    );
  }
  const drifts = [
    ...(seal.image === imageTag(request.image) ? [] : [`the volume was filled from ${seal.image}`]),
    ...(request.sha256 === undefined || request.sha256 === seal.sha256
      ? []
      : [`the volume was filled from an image with SHA-256 ${seal.sha256}`]),
  ];
  const drift = drifts.length === 0 ? undefined : `${drifts.join(', ')}; the annotation has changed since`;
  return [
    { action: 'none', sha256: seal.sha256, drift },
    drift ?? 'the volume is sealed with what the annotation asks for',
  ];
}

function decideRunning(
  input: PlanInput,
  disk: LocatedVolume,
  record: PlannedFill | undefined,
): Decided | undefined {
  if (record === undefined || !input.running.has(record.fillId)) return undefined;
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
    return { fillId, mark };
  }
  return undefined;
}

/** An interrupted fill is resumed only if the ledger knows it and the request is still the same. */
function isResumable(input: PlanInput, disk: LocatedVolume, fillId: string): boolean {
  const record = input.fills.find((fill) => fill.fillId === fillId);
  return record !== undefined && goesOn(record) && sameRequest(record.request, disk.request);
}

/** Interrupted, or stopped because the store went away: its volume is kept for it. */
function goesOn({ state, problem }: PlannedFill): boolean {
  if (state === 'failed') return problem?.code === 'STORE_UNREACHABLE';
  return state === 'waiting' || state === 'filling' || state === 'publishing';
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
  if (retryAtMs === undefined || retryAtMs <= input.nowMs) return undefined;
  return [
    { action: 'hold', problem: record.problem, retryAtMs },
    'it failed and is tried again after a pause',
  ];
}

function decideHalfAdopted(input: PlanInput, disk: LocatedVolume, mark: FillMark): Decided {
  if (mark.domainUuid !== input.domain.uuid)
    return refuseOther(disk, `being filled for domain ${mark.domainUuid}`);
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
    'It was left untouched. Delete it yourself (virsh vol-delete) if its content is not needed, or give the disk another volume.',
  );
}

function refuseOther(disk: LocatedVolume, how: string): Decided {
  return refuse(
    'VOLUME_OF_OTHER_DOMAIN',
    `Volume ${volumeKey(disk.location)} is ${how}.`,
    'One volume belongs to one domain: give this disk another volume, keep the old UUID in the domain XML, or delete the volume first.',
  );
}

function refuse(code: Problem['code'], message: string, hint: string): Decided {
  return [{ action: 'refuse', problem: { code, message, hint } }, message];
}

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
import type { FillMark, LogicalVolume, ReceivingMark, Seal } from './volume.ts';
import { ADOPTING_TAG, fillIdOf, imageTag, privateName, readMark } from './volume.ts';

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
  /**
   * Domains by UUID, with their names, whose first start was refused and that were never admitted since: what
   * is filled for them no guest has ever seen.
   */
  readonly firstStarts: ReadonlyMap<string, string>;
  readonly nowMs: number;
}

/** The longest pause between two tries of a fill that failed for a passing reason, in ms. */
export const RETRY_MAX_MS = 600_000;

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
  /** Sealed for a first start that was refused; the same guest has come back under another UUID. */
  | { readonly action: 'claim'; readonly fillId: string; readonly seal: Seal }
  /** Failed or cancelled before; tried again at `retryAtMs`, or only by hand if absent. */
  | { readonly action: 'hold'; readonly problem: Problem; readonly retryAtMs?: number | undefined }
  /** `receives`: it is set aside for this domain, and a migration that was announced is let in. */
  | { readonly action: 'refuse'; readonly problem: Problem; readonly receives?: true };

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

/** True if every annotated disk is finished or set aside to receive what the domain brings along. */
export function isReceivable(planned: Plan): boolean {
  return (
    planned.problems.length === 0 &&
    planned.disks.every(
      (disk) => disk.action === 'none' || (disk.action === 'refuse' && disk.receives === true),
    )
  );
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

/** Volumes under construction that no ledger row and no running fill accounts for: left behind, and ours to remove. */
export function planReclaim(input: Pick<PlanInput, 'volumes' | 'fills' | 'running'>): LogicalVolume[] {
  const alive = new Set([...input.running]);
  // Another domain may have got the name while the store was away.
  const published = new Set(
    input.volumes.filter(({ tags }) => readMark(tags).state === 'ready').map(volumeKey),
  );
  for (const fill of input.fills) {
    const isLate = fill.state === 'failed' && published.has(volumeKey(fill.location));
    if (goesOn(fill) && !isLate) alive.add(fill.fillId);
  }
  return input.volumes.filter((volume) => {
    const mark = readMark(volume.tags);
    if (mark.state !== 'filling' || alive.has(mark.fillId)) return false;
    // Under the final name: taking it over was interrupted between its marks and its renaming.
    const isHalfAdopted = volume.lv === mark.target && volume.tags.includes(ADOPTING_TAG);
    return fillIdOf(volume.lv) === mark.fillId || isHalfAdopted;
  });
}

/**
 * Sealed volumes that never got their final name and that no row and no running fill accounts for: whoever
 * asked for them has gone. They are finished, like any other volume that outlives its domain.
 */
export function planFinish(
  input: Pick<PlanInput, 'volumes' | 'fills' | 'running'>,
): { readonly volume: LogicalVolume; readonly seal: Seal }[] {
  const alive = new Set([...input.running, ...input.fills.map(({ fillId }) => fillId)]);
  const taken = new Set(input.volumes.map(volumeKey));
  return input.volumes.flatMap((volume) => {
    const seal = readMark(volume.tags);
    if (seal.state !== 'ready' || fillIdOf(volume.lv) !== seal.fillId || alive.has(seal.fillId)) return [];
    return taken.has(volumeKey({ vg: volume.vg, lv: seal.target })) ? [] : [{ volume, seal }];
  });
}

type Decided = readonly [DiskDecision, string];

function decideDisk(input: PlanInput, disk: LocatedVolume): Decided {
  const other = fillOfOtherDomain(input, disk);
  if (
    other !== undefined &&
    isEarlierTry(input, other.domainUuid) &&
    sameRequest(other.request, disk.request)
  ) {
    return [
      { action: 'wait', fillId: other.fillId },
      'it is being filled since an earlier try to start this guest',
    ];
  }
  if (other !== undefined) {
    return refuseOther(disk, `being filled for domain ${other.domainName} (${other.domainUuid})`);
  }
  const found = input.volumes.find((volume) => volumeKey(volume) === volumeKey(disk.location));
  const mark = found === undefined ? undefined : readMark(found.tags);
  if (mark?.state === 'ready' && input.running.has(mark.fillId)) {
    return [{ action: 'wait', fillId: mark.fillId }, 'it is published, and libvirt is being told'];
  }
  if (mark?.state === 'ready') return decideSealed(input, disk, mark);
  if (mark?.state === 'unclear') {
    return refuse(
      'VOLUME_STATE',
      `Volume ${volumeKey(disk.location)} carries tags of this program that do not belong together: ${mark.why}.`,
      'They were changed by hand. Remove the lvp: tags if the volume is not needed, then run `lvp retry`.',
    );
  }
  if (mark?.state === 'receiving') return decideReceiving(input, disk, mark);
  const record = input.fills.find((fill) => isFor(fill, input.domain.uuid, disk.request.target));
  const running = decideRunning(input, disk, record);
  if (running !== undefined) return running;
  const unfinished = unfinishedVolume(input, disk);
  const held = decideHeld(input, disk, record);
  if (unfinished?.mark.state === 'ready') {
    // Its publishing has failed before: not again without a pause.
    if (held !== undefined && record?.state === 'failed' && record.fillId === unfinished.fillId) return held;
    const { fillId, mark: seal } = unfinished;
    return [{ action: 'finish', fillId, seal }, 'the volume is sealed and only lacks its final name'];
  }
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
      (input.running.has(fill.fillId) || isUnfinished(fill.state)),
  );
}

function decideSealed(input: PlanInput, disk: LocatedVolume, seal: Seal): Decided {
  const { request } = disk;
  if (seal.domainUuid !== input.domain.uuid) {
    return isEarlierTry(input, seal.domainUuid) && isSealFor(seal, request)
      ? [
          { action: 'claim', fillId: seal.fillId, seal },
          'it was filled for an earlier try to start this guest',
        ]
      : refuseOther(disk, `published for domain ${seal.domainUuid}`);
  }
  if (seal.generation !== request.generation) {
    return refuseGeneration(disk, seal);
  }
  const drifts = [
    ...(seal.image === imageTag(request.image) ? [] : [`the volume was filled from ${seal.image}`]),
    ...(request.sha256 === undefined || request.sha256 === seal.sha256
      ? []
      : [`the volume was filled from an image with SHA-256 ${seal.sha256}`]),
  ];
  const drift = drifts.length === 0 ? undefined : `${drifts.join(', ')}; the annotation has changed since`;
  return [
    { action: 'none', fillId: seal.fillId, sha256: seal.sha256, drift },
    drift ?? 'the volume is sealed with what the annotation asks for',
  ];
}

function decideReceiving(input: PlanInput, disk: LocatedVolume, mark: ReceivingMark): Decided {
  if (mark.domainUuid !== input.domain.uuid) {
    return refuseOther(disk, `set aside for domain ${mark.domainUuid}, which is to arrive`);
  }
  if (mark.generation !== disk.request.generation) return refuseGeneration(disk, mark);
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
  return isSameDigest && seal.image === imageTag(request.image) && seal.generation === request.generation;
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
export function goesOn({ state, problem }: PlannedFill): boolean {
  if (state === 'failed') return problem?.code === 'STORE_UNREACHABLE';
  return isUnfinished(state);
}

/** True for the row of a fill that is queued, runs, or was cut off by a crash. */
export function isUnfinished(state: FillState): boolean {
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
  // Further away than any pause: the clock was set back.
  const pauseMs = (retryAtMs ?? 0) - input.nowMs;
  if (pauseMs <= 0 || pauseMs > RETRY_MAX_MS) return undefined;
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
    'It was left untouched. Delete it (virsh vol-delete) if its content is not needed; take the disk out of the annotation if it is to be used as it is; or give the disk another volume.',
  );
}

function refuseGeneration(disk: LocatedVolume, { generation }: Pick<Seal, 'generation'>): Decided {
  const { location, request } = disk;
  return refuse(
    'VOLUME_GENERATION',
    `Volume ${volumeKey(location)} holds generation ${generation}, the annotation of ${request.target} asks for generation ${request.generation}.`,
    'A published volume is never written again: set the generation back, or delete the volume (virsh vol-delete) and run `lvp retry` to have it filled anew.',
  );
}

function refuseOther(disk: LocatedVolume, how: string): Decided {
  return refuse(
    'VOLUME_OF_OTHER_DOMAIN',
    `Volume ${volumeKey(disk.location)} is ${how}.`,
    'One volume belongs to one domain: give this disk another volume, keep the old UUID in the domain XML (virt-install: --metadata uuid=UUID), or delete the volume first.',
  );
}

function refuse(code: Problem['code'], message: string, hint: string): Decided {
  return [{ action: 'refuse', problem: { code, message, hint } }, message];
}

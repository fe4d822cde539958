/**
 * The one place that decides. plan() is given everything that was read (domain, volumes with their tags,
 * ledger rows, which fills run right now) and answers, for each annotated disk, what is to be done about it
 * and why. It reads nothing, waits for nothing and changes nothing, so `lvp explain` can show its answer.
 *
 * The order of proof: tags on the volume, then the ledger, then a provably blank volume. What none of them
 * proves is refused.
 */
import { deleteCommand } from './volume/delete-command.ts';
import type { Problem } from './errors.ts';
import type { Verdict } from './policy/host-policy.ts';
import { formatKeyReference } from './key/key-reference.ts';
import type { LocatedVolume } from './volume/locate.ts';
import type { Decided, DiskDecision } from './plan/decision.ts';
import { refuse, refuseByPolicy } from './plan/decision.ts';
import { decideFilledForOther, fillOfOtherDomain } from './plan/filled-for-other.ts';
import { decideAside, decideHeld } from './plan/held.ts';
import type { PlanInput } from './plan/input.ts';
import { isEarlierTry, recordOf, stoppedPoolOf, volumeOf } from './plan/input.ts';
import { decideSealedByJob, isSealedByJob } from './plan/of-job.ts';
import { judgeDisk } from './plan/policy.ts';
import { decideReceiving, decideSealed, refuseByKey } from './plan/sealed.ts';
import { decideHalfAdopted, decideRunning, unfinishedVolume } from './plan/unfinished.ts';
import { volumeKey } from './plan/planned-fill.ts';
import type { Domain } from './request.ts';
import { asidesOf } from './plan/retired.ts';
import { originOfClone } from './thin/thin-place.ts';
import { readMark } from './volume/volume.ts';

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

function refuseUnclear(disk: LocatedVolume, why: string): Decided {
  return refuse(
    'VOLUME_STATE',
    `Volume ${volumeKey(disk.location)} carries tags of this program that do not belong together: ${why}.`,
    'They were changed by hand. Remove the lvp: tags if the volume is not needed, then run `lvp retry`.',
  );
}

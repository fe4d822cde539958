/** What is not begun now: by what the ledger says of the fill before, or of what was put aside. */
import type { Problem } from '../errors.ts';
import { isPassing } from '../errors.ts';
import type { LocatedVolume } from '../volume/locate.ts';
import { sayOfAside, withAside } from './aside-of-disk.ts';
import type { Decided } from './decision.ts';
import { refuse, refuseOther } from './decision.ts';
import type { PlanInput } from './input.ts';
import type { PlannedFill } from './planned-fill.ts';
import { sameRequest, volumeKey } from './planned-fill.ts';
import { RETRY_MAX_MS } from './retry-pause.ts';

export function decideHeld(
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

export function decideAside(
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

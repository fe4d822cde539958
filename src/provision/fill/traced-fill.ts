/** The recipe of a fill and the helper, told step by step to whoever keeps traces. */
import { jobIdOf } from '../../core/owner.ts';
import type { FillVolume } from './fills.ts';
import { writesBytes } from './fills.ts';
import type { FillTrace } from '../ports/fill-trace.ts';
import type { Ledger } from '../ports/ledger.ts';
import type { Volumes } from '../ports/volumes.ts';
import { endOf } from './watched-fill.ts';

/** The same recipe, whose steps are told; the ledger knows the request behind a job's fill. */
export function tracedFill(
  fillVolume: FillVolume,
  trace: FillTrace,
  ledger: Pick<Ledger, 'jobOf'>,
): FillVolume {
  return async (record, task, run) => {
    const { fillId } = record;
    trace.begun(record, task.from);
    const job = ledger.jobOf(jobIdOf(record.domainUuid) ?? '');
    if (job !== undefined) trace.learned(fillId, { requestedAs: job.request.correlationId ?? job.id });
    trace.entered(fillId, writesBytes(task) ? 'resolve' : 'publish');
    try {
      const sha256 = await fillVolume(record, task, {
        ...run,
        phase: (phase, objectBytes) => {
          trace.entered(fillId, STEP_OF[phase]);
          if (objectBytes !== undefined) trace.learned(fillId, { objectBytes });
          run.phase(phase, objectBytes);
        },
        from: (from) => {
          trace.learned(fillId, { from });
          run.from(from);
        },
        streamed: () => {
          trace.entered(fillId, 'verify');
          run.streamed?.();
        },
      });
      trace.learned(fillId, { sha256 });
      trace.ended(fillId, { how: 'published' });
      return sha256;
    } catch (error) {
      trace.ended(fillId, endOf(run.signal, error));
      throw error;
    }
  };
}

const STEP_OF = { filling: 'stream', verifying: 'verify', publishing: 'publish' } as const;

/** The same helper; where it makes or takes over a private volume, a step of that volume's fill begins. */
export function tracedVolumes(volumes: Volumes, trace: FillTrace): Volumes {
  const creating = async <T extends { readonly sizeBytes: number }>(
    fillId: string,
    work: () => Promise<T>,
  ): Promise<T> => {
    trace.entered(fillId, 'create');
    const made = await work();
    trace.learned(fillId, { volumeBytes: made.sizeBytes });
    return made;
  };
  return {
    list: () => volumes.list(),
    examine: (vg, lv) => volumes.examine(vg, lv),
    create: (volume, ...asked) => creating(volume.fillId, () => volumes.create(volume, ...asked)),
    adopt: (volume) => creating(volume.fillId, () => volumes.adopt(volume)),
    clone: (volume, golden, sizeBytes) =>
      creating(volume.fillId, () => volumes.clone(volume, golden, sizeBytes)),
    publish: (volume, seal, key) => volumes.publish(volume, seal, key),
    claim: (vg, seal, domainUuid) => volumes.claim(vg, seal, domainUuid),
    retire: (vg, seal) => volumes.retire(vg, seal),
    restore: (vg, seal) => volumes.restore(vg, seal),
    arrive: (vg, seal) => volumes.arrive(vg, seal),
    recall: (vg, fillId) => volumes.recall(vg, fillId),
    discard: (volume) => volumes.discard(volume),
    drop: (vg, seal) => volumes.drop(vg, seal),
  };
}

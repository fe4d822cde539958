/** The recipe of a fill with others looking on: whoever counts fills, or writes down what became of them. */
import { toProblem } from '../../core/errors.ts';
import type { FillVolume } from './fills.ts';
import { FillsStopped, writesBytes } from './fills.ts';
import type { FillEnd, FillWatch } from '../ports/watches.ts';

/** The same recipe; the watches are told in their order. */
export function watchedFill(fillVolume: FillVolume, watches: readonly FillWatch[]): FillVolume {
  return async (record, task, run) => {
    const writes = writesBytes(task);
    for (const watch of watches) watch.begun(record, writes);
    try {
      const sha256 = await fillVolume(record, task, {
        ...run,
        phase: (phase, bytesTotal) => {
          for (const watch of watches) watch.entered(record, phase);
          run.phase(phase, bytesTotal);
        },
      });
      for (const watch of watches) watch.ended(record, writes, { how: 'published' });
      return sha256;
    } catch (error) {
      const end = endOf(run.signal, error);
      for (const watch of watches) watch.ended(record, writes, end);
      throw error;
    }
  };
}

/** How a fill has ended that threw this, or was ended by the signal. */
export function endOf(signal: AbortSignal, error: unknown): FillEnd {
  const reason: unknown = signal.aborted ? signal.reason : error;
  if (reason instanceof FillsStopped) return { how: 'stopped' };
  const problem = toProblem(reason);
  return { how: problem.code === 'CANCELLED' ? 'cancelled' : 'failed', problem };
}

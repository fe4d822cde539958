/** Deeds of whoever asks for volumes without a domain. */
import { ProvisionError } from '../../src/core/errors.ts';
import { ownerOfJob } from '../../src/core/owner.ts';
import type { JobRequest } from '../../src/core/protocol/job-protocol.ts';
import { readMark } from '../../src/core/volume/volume.ts';
import type { JobRecord } from '../../src/provision/ports/ledger.ts';
import type { Deed } from './deed.ts';
import { IMAGE_NAMES, LV_NAMES } from './deed.ts';
import type { Random } from './random.ts';
import type { Simulation } from './simulation.ts';
import { sha256Of } from './store.ts';
import { Violation } from './violation.ts';

export const createJob: Deed = async (run, random) => {
  if (!run.daemon.life.isAlive) return;
  const image = random.pick(IMAGE_NAMES);
  const digest = random.chance(0.8) ? run.store.digestOf(image) : sha256Of(Buffer.from('wrong'));
  const request: JobRequest = {
    ...{ image, format: 'raw', volume: random.pick(LV_NAMES) },
    ...(random.chance(0.3) && digest !== undefined ? { sha256: digest } : {}),
    ...(random.chance(0.3) ? { size: String(512 * random.between(8, 160)) } : {}),
  };
  run.say(
    `lvp job create ${request.volume} ${image} ${request.sha256?.slice(0, 8) ?? ''} ${request.size ?? ''}`,
  );
  await attempt(run.daemon.jobs.start(request, 'uid:0'));
};

export const cancelJob: Deed = async (run, random) => {
  const job = anyJob(run, random);
  if (job === undefined) return;
  run.say(`lvp job cancel, for ${job.location.lv}`);
  const { daemon } = run;
  if (!(await attempt(daemon.jobs.cancel(job.id))) || !daemon.life.isAlive) return;
  // It may have been begun again by now.
  if (run.ledger.of(daemon.life).jobOf(job.id)?.end?.state !== 'cancelled') return;
  const left = run.group.model.volumes.find(({ tags }) => {
    const mark = readMark(tags);
    return 'domainUuid' in mark && mark.domainUuid === ownerOfJob(job.id);
  });
  if (left !== undefined) throw new Violation('nothing-left', `a job was cancelled, and ${left.lv} is there`);
};

export const retryJob: Deed = async (run, random) => {
  const job = anyJob(run, random);
  if (job === undefined) return;
  run.say(`lvp job retry, for ${job.location.lv}`);
  await attempt(run.daemon.jobs.retry(job.id));
};

function anyJob(run: Simulation, random: Random): JobRecord | undefined {
  if (!run.daemon.life.isAlive) return undefined;
  const all = run.ledger.of(run.daemon.life).jobs({ limit: 5 });
  return all.length === 0 ? undefined : random.pick(all);
}

/** Whether it was done; what is refused, or fails for a reason that has a name, is no defect. */
async function attempt(asked: Promise<unknown>): Promise<boolean> {
  try {
    await asked;
    return true;
  } catch (error) {
    if (!(error instanceof ProvisionError) && !String(error).includes('SQLITE')) throw error;
    return false;
  }
}

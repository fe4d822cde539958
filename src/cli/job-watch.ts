/** Showing a job until it has ended. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Job } from '../core/job-protocol.ts';
import { isJobUnderWay, jobLine, jobText } from './job-text.ts';
import type { Context } from './verb.ts';

const WATCH_MS = 500;
/** Plain lines come when the state changes, and after each tenth of the bytes. */
const PLAIN_STEPS = 10;

/** Resolves with the last state, which has been printed by then. */
export async function watchJob({ client, output }: Context, id: string): Promise<Job> {
  let told = '';
  for (;;) {
    const job = await client.call(Job, 'GET', pathOfJob(id));
    const isLast = !isJobUnderWay(job);
    const { state, phase = '', bytesDone, bytesTotal = 0 } = job;
    const step = bytesTotal === 0 ? 0 : Math.floor((bytesDone / bytesTotal) * PLAIN_STEPS);
    const news = `${state} ${phase} ${step}`;
    if (output.live) output.repaint(jobText(job, output.colour));
    else if (!output.json && !isLast && news !== told) output.line(`${job.location} ${jobLine(job, false)}`);
    told = news;
    if (isLast) {
      if (!output.live) output.result(job, () => jobText(job, output.colour));
      return job;
    }
    await sleep(WATCH_MS);
  }
}

export function pathOfJob(id: string, verb?: string): string {
  return `/v1/jobs/${encodeURIComponent(id)}${verb === undefined ? '' : `/${verb}`}`;
}

/** Jobs as text, and what their states mean for the exit code. Pure. */
import { problemOf } from '../core/control-protocol.ts';
import { describeProblem } from '../core/errors.ts';
import type { Job } from '../core/job-protocol.ts';
import type { ExitCode } from './exit-codes.ts';
import { EXIT } from './exit-codes.ts';
import { barLine, paint, table } from './format.ts';

const STATE_STYLE: Readonly<Record<Job['state'], 'green' | 'red' | 'yellow' | 'cyan'>> = {
  completed: 'green',
  failed: 'red',
  cancelled: 'yellow',
  pending: 'cyan',
  running: 'cyan',
};

export function exitCodeOfJob({ state }: Job): ExitCode {
  if (state === 'completed') return EXIT.ok;
  return state === 'failed' ? EXIT.failed : EXIT.notReady;
}

export function isJobUnderWay({ state }: Job): boolean {
  return state === 'pending' || state === 'running';
}

export function jobsTable(jobs: readonly Job[], colour: boolean): string {
  const rows = jobs.map((job) => [job.id, job.location, job.state, percentOf(job), job.request.image]);
  const styleOf = (state: string) => (state in STATE_STYLE ? STATE_STYLE[state as Job['state']] : undefined);
  return table([['JOB', 'VOLUME', 'STATE', 'DONE', 'IMAGE'], ...rows], colour, styleOf);
}

/** A job with all that is known about it. */
export function jobText(job: Job, colour: boolean): string {
  const { id, location, request, by } = job;
  const details = [
    `${location} from ${request.image} (${request.format}), asked for by ${by}`,
    ...(job.sha256 === undefined ? [] : [`sha256 ${job.sha256}`]),
    ...(job.claimedBy === undefined ? [] : [`claimed by domain ${job.claimedBy}`]),
    ...(job.problem === undefined ? [] : [`problem: ${describeProblem(problemOf({ error: job.problem }))}`]),
  ];
  return [`${id} ${jobLine(job, colour)}`, ...details.map((line) => `    ${line}`)].join('\n');
}

/** `running [#####-------] 45 %, 1.2 GiB of 2.7 GiB` */
export function jobLine(job: Job, colour: boolean): string {
  const { state, phase, bytesDone, bytesTotal, queuePosition } = job;
  const words = [
    ...(queuePosition === undefined ? [] : [`${queuePosition} before it`]),
    ...(phase === undefined || phase === 'filling' ? [] : [phase]),
  ];
  const isShown = state === 'running' && bytesTotal !== undefined;
  const progress = isShown ? ` ${barLine(bytesDone, bytesTotal, undefined)}` : '';
  return [`${paint(state, colour ? STATE_STYLE[state] : undefined)}${progress}`, ...words].join(', ');
}

function percentOf({ state, bytesDone, bytesTotal }: Job): string {
  if (state === 'completed' || bytesTotal === undefined) return '';
  return `${Math.floor((Math.min(bytesDone, bytesTotal) / bytesTotal) * 100)} %`;
}

/** Jobs as text, and what their states mean for the exit code. Pure. */
import { describeProblem } from '../../core/errors.ts';
import { problemOf } from '../../core/protocol/control-protocol.ts';
import type { Job, Jobs } from '../../core/protocol/job-protocol.ts';
import type { ExitCode } from '../program/exit-codes.ts';
import { EXIT } from '../program/exit-codes.ts';
import { barLine, paint, paintState } from './format.ts';
import type { Look } from './output.ts';
import { table } from './table.ts';

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

/** A row for each; `isLive`: with bars, and without what does not change. */
export function jobsText({ jobs }: Jobs, { colour, width }: Look, isLive = false): string {
  if (jobs.length === 0) return 'No jobs.';
  const heading = ['JOB', 'VOLUME', 'STATE', 'DONE', ...(isLive ? [] : ['IMAGE'])];
  const rows = jobs.map((job) => [
    ...[job.id, job.location, job.state],
    ...(isLive ? [progressOf(job)] : [percentOf(job), job.request.image]),
  ]);
  // With its id a job is cancelled.
  const whole = isLive ? [0, 3] : [0];
  return table([heading, ...rows], { width, whole, paint: paintState(colour, styleOf) });
}

function styleOf(state: string): (typeof STATE_STYLE)[Job['state']] | undefined {
  return state in STATE_STYLE ? STATE_STYLE[state as Job['state']] : undefined;
}

function progressOf({ state, bytesDone, bytesTotal, queuePosition }: Job): string {
  if (queuePosition !== undefined) return `${queuePosition} before it`;
  return state === 'running' && bytesTotal !== undefined ? barLine(bytesDone, bytesTotal, undefined) : '';
}

/** A job with all that is known about it. */
export function jobText(job: Job, { colour }: Pick<Look, 'colour'>): string {
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

/** `lvp job`: volumes that are asked for without a domain. */
import type { Command } from 'commander';
import { Option } from 'commander';
import { JobFilter, JobRequest, JobState } from '../core/protocol/job-protocol.ts';
import type { ImageFormat, OuterCompression } from '../core/request.ts';
import { kindOf, withImageOptions } from './image/image-kind.ts';
import type { ImageOptions } from './program/checked-request.ts';
import { checkedRequest, describedBy } from './program/checked-request.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';
import { exitCodeOfJob, jobsText, jobText } from './terminal/job-text.ts';
import { watchedJob, watchedJobs } from './terminal/watched.ts';
import { watch } from './watch.ts';

export const addJob: AddVerb = (program, finish) => {
  const job = program
    .command('job')
    .description(
      'volumes that are filled before any domain asks for them, and claimed by an annotation later',
    );
  addCreate(job, finish);
  addJobList(job, finish);
  addJobStatus(job, finish);
  addChange(job, finish, 'cancel', 'end a job; everything of it is given back', 'lvp job cancel 0f8e…');
  addChange(job, finish, 'retry', 'begin a failed or cancelled job again', 'lvp job retry 0f8e…');
};

type CreateOptions = ImageOptions & {
  readonly format?: ImageFormat;
  readonly compression?: OuterCompression;
  readonly pool?: string;
  readonly size?: string;
  readonly correlationId?: string;
  readonly watch?: boolean;
};

const addCreate: AddVerb = (job, finish) => {
  const asked = job
    .command('create')
    .argument('<volume>', 'the name that the volume is to have')
    .argument('<image>', 'the image, as BUCKET/KEY')
    .option('--pool <pool>', 'the libvirt pool; needed where there are several');
  const command = withImageOptions(asked)
    .option('--correlation-id <text>', "the caller's own name for it")
    .option('-w, --watch', 'stay until it has ended, and show progress')
    .description('make a volume from an image');
  common(command, [
    'lvp job create web2-root images/debian-13.qcow2 --watch',
    'lvp job create web2-root images/debian-13.qcow2 --pool guests --size 40GiB',
    'lvp job create web2-root images/debian-13.qcow2 --json | jq -r .id',
  ]).action(async (volume: string, image: string, options: CreateOptions, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    const { format, compression, guessed } = kindOf(image, options);
    if (guessed !== undefined && !output.json) output.note(guessed);
    const { pool, size, correlationId } = options;
    const request = {
      ...{ volume, image, ...describedBy({ ...options, format, compression }) },
      ...{ pool, size, correlationId },
    };
    const begun = await daemon.startJob(checkedRequest(JobRequest, request, 'job create'));
    if (options.watch === true) {
      finish(exitCodeOfJob(await watch(output, watchedJob(daemon, begun.id))));
      return;
    }
    output.result(begun, () => jobText(begun, output.look));
    finish(EXIT.ok);
  });
};

interface ListOptions {
  readonly state?: string;
  readonly volume?: string;
  readonly limit?: string;
  readonly after?: string;
  readonly watch?: boolean;
}

const addJobList: AddVerb = (job, finish) => {
  const command = job
    .command('list')
    .alias('ls')
    .addOption(new Option('--state <state>', 'only those in this state').choices(JobState.options))
    .option('--volume <volume>', 'only those for a volume of this name')
    .option('--limit <number>', 'at most so many (default: 100)')
    .option('--after <job>', 'only those that are older than this one')
    .option('-w, --watch', 'stay until none of them is under way any more, and show progress')
    .description('show jobs, the newest first');
  common(command, [
    'lvp job list',
    'lvp job list --state failed',
    'lvp job list --watch',
    "lvp job list --json | jq -r '.jobs[].location'",
  ]).action(async (options: ListOptions, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    const { state, volume, limit, after } = options;
    const asked = Object.entries({ state, volume, limit, after }).filter(([, value]) => value !== undefined);
    const filter = checkedRequest(JobFilter, Object.fromEntries(asked), 'job list');
    if (options.watch === true) await watch(output, watchedJobs(daemon, filter));
    else {
      const jobs = await daemon.jobs(filter);
      output.result(jobs, () => jobsText(jobs, output.look));
    }
    finish(EXIT.ok);
  });
};

const addJobStatus: AddVerb = (job, finish) => {
  const command = job
    .command('status')
    .argument('<job>', 'id of the job')
    .option('-w, --watch', 'stay until it has ended, and show progress')
    .description('show a job; the exit code says whether it is completed');
  common(command, ['lvp job status 0f8e…', 'lvp job status 0f8e… --watch']).action(
    async (id: string, options: { watch?: boolean }, self: Command) => {
      const { daemon, output } = contextOf(self, finish);
      if (options.watch === true) {
        finish(exitCodeOfJob(await watch(output, watchedJob(daemon, id))));
        return;
      }
      const found = await daemon.job(id);
      output.result(found, () => jobText(found, output.look));
      finish(exitCodeOfJob(found));
    },
  );
};

function addChange(
  job: Command,
  finish: Parameters<AddVerb>[1],
  verb: 'cancel' | 'retry',
  description: string,
  example: string,
): void {
  const command = job.command(verb).argument('<job>', 'id of the job').description(description);
  common(command, [example]).action(async (id: string, _options: object, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    const changed = await daemon.changeJob(verb, id);
    output.result(changed, () => jobText(changed, output.look));
    finish(EXIT.ok);
  });
}

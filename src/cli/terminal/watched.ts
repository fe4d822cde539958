/** What can be watched: a domain, all of them, a job, and many. */
import type { DomainStatus } from '../../core/protocol/control-protocol.ts';
import type { Job, JobFilter, Jobs } from '../../core/protocol/job-protocol.ts';
import type { Daemon } from '../daemon.ts';
import { isUnderWay } from '../program/exit-codes.ts';
import type { News, Watched } from '../watch.ts';
import { stepOf } from '../watch.ts';
import { domainText, listText, progressLine } from './format.ts';
import { isJobUnderWay, jobLine, jobsText, jobText } from './job-text.ts';

export function watchedDomain(daemon: Daemon, vm: string): Watched<DomainStatus> {
  return {
    look: () => daemon.domain(vm),
    ...{ isUnderWay, text: domainText, news: newsOfDomain },
  };
}

export function watchedDomains(daemon: Daemon): Watched<readonly DomainStatus[]> {
  return {
    look: () => daemon.domains(),
    isUnderWay: (domains) => domains.some(isUnderWay),
    text: listText,
    live: (domains, look) => listText(domains, look, true),
    news: (domains) => domains.filter(isUnderWay).flatMap(newsOfDomain),
  };
}

export function watchedJob(daemon: Daemon, id: string): Watched<Job> {
  return {
    look: () => daemon.job(id),
    ...{ isUnderWay: isJobUnderWay, text: jobText },
    news: (job) => [newsOfJob(job)],
  };
}

export function watchedJobs(daemon: Daemon, filter: Partial<JobFilter>): Watched<Jobs> {
  return {
    look: () => daemon.jobs(filter),
    isUnderWay: ({ jobs }) => jobs.some(isJobUnderWay),
    text: jobsText,
    live: (jobs, look) => jobsText(jobs, look, true),
    news: ({ jobs }) => jobs.filter(isJobUnderWay).map(newsOfJob),
  };
}

function newsOfDomain(domain: DomainStatus): readonly News[] {
  return domain.volumes.map((volume) => ({
    key: `${domain.uuid} ${volume.target}`,
    state: `${volume.state} ${stepOf(volume.bytesDone, volume.bytesTotal)}`,
    line: `${domain.name} ${progressLine(volume, false)}`,
  }));
}

function newsOfJob(job: Job): News {
  const { id, state, phase = '', bytesDone, bytesTotal } = job;
  return {
    key: id,
    state: `${state} ${phase} ${stepOf(bytesDone, bytesTotal)}`,
    line: `${job.location} ${jobLine(job, false)}`,
  };
}

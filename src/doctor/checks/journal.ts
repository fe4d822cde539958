/** Whether what has happened can be read afterwards. */
import type { Check } from '../check.ts';
import { configOf, fail, ifThere, info, must, ok, SOURCE, warn } from '../check.ts';
import type { HostFacts } from '../host.ts';
import { parseSize } from '../../core/size.ts';
import { readAssignments } from '../settings.ts';
import { shownUnit } from '../unit.ts';

const RETENTION = SOURCE.guide('Log Retention');
const DAY_S = 86_400;
const RETENTION_MIN_S = 14 * DAY_S;
const SIZE_MIN_BYTES = 256 * 2 ** 20;

const UNIT_S: Readonly<Record<string, number>> = {
  ...{ s: 1, sec: 1, second: 1, seconds: 1, m: 60, min: 60, minute: 60, minutes: 60 },
  ...{ h: 3600, hr: 3600, hour: 3600, hours: 3600, d: DAY_S, day: DAY_S, days: DAY_S },
  ...{
    w: 7 * DAY_S,
    week: 7 * DAY_S,
    weeks: 7 * DAY_S,
    M: 30 * DAY_S,
    month: 30 * DAY_S,
    months: 30 * DAY_S,
  },
  ...{ y: 365 * DAY_S, year: 365 * DAY_S, years: 365 * DAY_S },
};

async function settings(host: HostFacts): Promise<ReadonlyMap<string, string>> {
  return readAssignments(must(await host.run('journald-settings'), 'systemd-analyze'));
}

/** `14days`, `2 weeks`, or bare seconds (man 7 systemd.time). */
function seconds(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text);
  const parts = [...text.matchAll(/(\d+)\s*([A-Za-z]+)/g)];
  const sum = parts.reduce(
    (total, [, count = '', unit = '']) => total + Number(count) * (UNIT_S[unit] ?? NaN),
    0,
  );
  return parts.length === 0 || Number.isNaN(sum) ? undefined : sum;
}

export const JOURNAL_CHECKS: readonly Check[] = [
  {
    id: 'journal.persistent',
    title: 'the journal outlives a boot',
    why: 'After a crash or a break-in it is what tells what has happened.',
    source: RETENTION,
    fix: 'Set Storage=persistent in /etc/systemd/journald.conf.d/retention.conf; systemctl restart systemd-journald.',
    look: async (host) => {
      const storage = (await settings(host)).get('Storage') ?? 'auto';
      const folder = ifThere(await host.stat('/var/log/journal'), '/var/log/journal');
      if (storage === 'persistent' || (storage === 'auto' && folder !== undefined))
        return ok(`Storage=${storage}`);
      return fail(
        storage === 'auto' ? 'Storage=auto, and there is no /var/log/journal' : `Storage=${storage}`,
      );
    },
  },
  {
    id: 'journal.size',
    title: 'the journal has room',
    why: 'What is pushed out by other messages cannot be read either.',
    source: RETENTION,
    fix: 'Set SystemMaxUse=4G in /etc/systemd/journald.conf.d/retention.conf; systemctl restart systemd-journald.',
    look: async (host) => {
      const text = (await settings(host)).get('SystemMaxUse') ?? '';
      if (text === '') return ok("systemd's default: a tenth of the file system, at most 4G");
      const bytes = /^\d+$/.test(text) ? Number(text) : parseSize(text.replace(/^(\d+)([KMGT])$/, '$1$2iB'));
      return (bytes !== undefined && bytes < SIZE_MIN_BYTES ? warn : ok)(`SystemMaxUse=${text}`);
    },
  },
  {
    id: 'journal.retention',
    title: 'messages are kept for two weeks',
    why: 'Break-ins are noticed late.',
    source: RETENTION,
    fix: 'Set MaxRetentionSec=14days, or leave it out: then only size is a limit.',
    look: async (host) => {
      const text = (await settings(host)).get('MaxRetentionSec') ?? '';
      const keptS = seconds(text);
      if (text === '' || keptS === 0) return ok('no limit but size');
      return (keptS !== undefined && keptS < RETENTION_MIN_S ? warn : ok)(`MaxRetentionSec=${text}`);
    },
  },
  {
    id: 'journal.unit-output',
    title: 'what the daemon says goes to the journal',
    why: 'A drop-in that sends it elsewhere takes it away from who reads the journal.',
    source: SOURCE.guide('Enable Audit Logging'),
    fix: 'Take away the drop-in that sets StandardOutput= or StandardError=.',
    look: async (host) => {
      const unit = await shownUnit(host, 'show-daemon');
      const outputs = [unit.get('StandardOutput'), unit.get('StandardError')];
      const isJournal = outputs.every((output) => ['journal', 'inherit'].includes(output));
      return isJournal ? ok('journal') : warn(`StandardOutput=${outputs.join(', StandardError=')}`);
    },
  },
  {
    id: 'journal.format',
    title: 'log lines are JSON',
    why: 'Each line can then be searched by its fields: fill, domain, problem.',
    source: SOURCE.guide('Enable Audit Logging'),
    fix: 'Leave log.format out, or set it to json.',
    look: async (host) => {
      const { format } = (await configOf(host)).log;
      return format === 'pretty' ? warn('log.format is pretty') : ok(`log.format is ${format}`);
    },
  },
  {
    id: 'journal.level',
    title: 'what is admitted, refused, made and removed is logged',
    why: 'That is said at level info. The guide asks for debug, which is for finding defects and says nothing more of who did what.',
    source: `${SOURCE.guide('Enable Audit Logging')}, corrected`,
    fix: 'Set log.level to info.',
    look: async (host) => {
      const { level } = (await configOf(host)).log;
      if (level === 'warn' || level === 'error') return warn(`log.level is ${level}`);
      return level === 'info' ? ok('log.level is info') : info(`log.level is ${level}`);
    },
  },
];

/** `lvp audit`: who did what. */
import type { Command } from 'commander';
import { whoOfOwner } from '../core/owner.ts';
import type { AuditEvent } from '../core/protocol/audit-event.ts';
import type { AuditEvents } from '../core/protocol/audit-protocol.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';
import { MOMENT_HELP, parseMoment } from './terminal/moment.ts';

interface AuditOptions {
  readonly since?: number;
  readonly until?: number;
  readonly who?: string;
  readonly volume?: string;
  readonly domain?: string;
  readonly limit?: string;
}

export const addAudit: AddVerb = (program, finish) => {
  const command = program
    .command('audit')
    .option('--since <time>', `only from then on: ${MOMENT_HELP}`, parseMoment)
    .option('--until <time>', 'only before then', parseMoment)
    .option(
      '--who <who>',
      'only by uid:0, domain:UUID, job:UUID, certificate:SUBJECT, token:NAME, daemon or unknown',
    )
    .option('--volume <vg/lv>', 'only what concerns this volume')
    .option('--domain <vm>', 'only what concerns this domain, or job; of one that is gone, its UUID')
    .option('--limit <number>', 'the newest so many, up to 5000 (default: 1000)')
    .description('show who asked for what, what was done to volumes, and how it ended');
  common(command, [
    'lvp audit --since 2h',
    'lvp audit --domain web1',
    'lvp audit --volume vg0/web1-root --since 2026-11-01 --until 2026-12-01',
    'lvp audit --since 7d --json | jq \'.events[] | select(.outcome == "failed")\'',
  ]).action(async ({ since, until, ...others }: AuditOptions, self: Command) => {
    const { daemon, output } = contextOf(self, finish);
    const { who, volume, domain, limit } = others;
    const found = await daemon.audit({
      ...(since === undefined ? {} : { since: new Date(since).toISOString() }),
      ...(until === undefined ? {} : { until: new Date(until).toISOString() }),
      ...(who === undefined ? {} : { who }),
      ...(volume === undefined ? {} : { volume }),
      ...(domain === undefined ? {} : { domain }),
      ...(limit === undefined ? {} : { limit: Number(limit) }),
    });
    output.result(found, () => textOf(found));
    if (found.more) output.note('There are older ones: narrow it with --until, or raise --limit.');
    finish(EXIT.ok);
  });
};

function textOf({ events }: AuditEvents): string {
  if (events.length === 0) return 'Nothing of that kind has been written down.';
  return events.map(lineOf).join('\n');
}

/** One line, so that it can be searched: time, decision, outcome, what, and who. */
function lineOf({
  at,
  who,
  what,
  volume,
  domain,
  key,
  decision,
  outcome,
  correlationId,
  problem,
}: AuditEvent): string {
  const whose = domain === undefined ? undefined : whoOfOwner(domain);
  const about = [volume, whose === who ? undefined : whose, key];
  return [
    ...[at, decision, outcome, what, ...about, `by ${who}`, `[${correlationId}]`].filter(
      (part) => part !== undefined,
    ),
    ...(problem === undefined ? [] : [`${problem.code}: ${problem.message.replaceAll('\n', ' ')}`]),
  ].join(' ');
}

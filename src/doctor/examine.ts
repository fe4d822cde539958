/** The doctor's round: every check, each with a time limit, and with `--fix` the safe repairs and a second look. */
import type { Check, Verdict } from './check.ts';
import { CannotTell } from './check.ts';
import type { Finding, Repair, Report } from './finding.ts';
import { countBySeverity, groupOf, worstOf } from './finding.ts';
import type { Host, HostFacts } from './host.ts';
import { remembering } from './remembering.ts';

/** For one check. Commands and connections have shorter ones of their own; the control socket's is longer. */
const CHECK_TIME_MAX_MS = 15_000;
const TIME_MIN_MS = 10;
const WHAT_CHARS_MAX = 600;
/** For everything, repairs and the second look too. */
const DOCTOR_TIME_MAX_MS = 60_000;

export interface ExamineOptions {
  readonly checks: readonly Check[];
  readonly fix: boolean;
  readonly timeMaxMs?: number;
}

/** Never throws: what goes wrong with a check is its finding. */
export async function examine(
  host: Host,
  { checks, fix, timeMaxMs = DOCTOR_TIME_MAX_MS }: ExamineOptions,
): Promise<Report> {
  const endsMs = performance.now() + timeMaxMs;
  const first = await lookAtAll(remembering(host), checks, endsMs);
  const repairs = fix ? await repairAll(host, checks, first, endsMs) : [];
  const findings = repairs.some(({ done }) => done)
    ? await lookAtAll(remembering(host), checks, endsMs)
    : first;
  const shown = withoutSecrets(await secretsOf(host), { findings, repairs });
  return {
    version: host.versions.program,
    worst: worstOf(shown.findings),
    counts: countBySeverity(shown.findings),
    ...shown,
  };
}

/** Groups beside each other, the checks of a group one after the other. */
async function lookAtAll(
  host: HostFacts,
  checks: readonly Check[],
  endsMs: number,
): Promise<readonly Finding[]> {
  const groups = new Map<string, Check[]>();
  for (const check of checks) groups.set(groupOf(check), [...(groups.get(groupOf(check)) ?? []), check]);
  const found = await Promise.all(
    [...groups.values()].map(async (group) => {
      const findings: Finding[] = [];
      for (const check of group) findings.push(await lookAt(host, check, endsMs));
      return findings;
    }),
  );
  return found.flat();
}

async function lookAt(host: HostFacts, check: Check, endsMs: number): Promise<Finding> {
  const { id, title, why, source, repair } = check;
  const timeMs = Math.min(CHECK_TIME_MAX_MS, endsMs - performance.now());
  const verdict = await within(timeMs, async () => check.look(host)).catch((error: unknown) =>
    cannotTell(error, host),
  );
  const isBad = verdict.severity === 'fail' || verdict.severity === 'warn';
  return {
    ...{ id, title, severity: verdict.severity, what: plain(verdict.what), why, source },
    fix: verdict.fix ?? check.fix,
    fixable: isBad && repair !== undefined && verdict.repairable !== false,
  };
}

/** One line for a terminal, whatever the program that said it put into it. */
function plain(text: string): string {
  const line = text.replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, ' ').trim();
  return line.length > WHAT_CHARS_MAX ? `${line.slice(0, WHAT_CHARS_MAX - 1)}…` : line;
}

function cannotTell(error: unknown, { isRoot }: HostFacts): Verdict {
  const why = error instanceof CannotTell ? error.message : `the check itself failed: ${String(error)}`;
  return { severity: 'unknown', what: isRoot ? why : `${why} (run as root, more can be looked at)` };
}

/** What takes longer is left alone; it has a time limit of its own and is waited for by nobody. */
async function within<T>(timeMs: number, work: () => Promise<T>): Promise<T> {
  // A timer may ring a moment early: what is left then is nothing.
  if (timeMs < TIME_MIN_MS) throw new CannotTell('there was no time left for it');
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(new CannotTell(`no answer within ${Math.round(timeMs / 1000)} s`));
  }, timeMs);
  try {
    return await Promise.race([work(), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Each repair once, however many checks ask for it. */
async function repairAll(
  host: Host,
  checks: readonly Check[],
  findings: readonly Finding[],
  endsMs: number,
): Promise<readonly Repair[]> {
  const wanted = new Map<NonNullable<Check['repair']>, string[]>();
  for (const { id, fixable } of findings) {
    const repair = checks.find((check) => check.id === id)?.repair;
    if (fixable && repair !== undefined) wanted.set(repair, [...(wanted.get(repair) ?? []), id]);
  }
  const repairs: Repair[] = [];
  for (const [repair, ids] of wanted) {
    try {
      const what = await within(endsMs - performance.now(), () => repair(host));
      repairs.push({ ids, done: true, what });
    } catch (error) {
      repairs.push({ ids, done: false, what: error instanceof Error ? error.message : String(error) });
    }
  }
  return repairs;
}

/** No check puts a key into its words. If one ever does, by way of what a program has said, it is taken out here. */
async function secretsOf(host: HostFacts): Promise<readonly string[]> {
  const config = await host.config();
  if (config.is !== 'known') return [];
  const { accessKey, secretKey } = config.value.minio;
  return [accessKey.reveal(), secretKey.reveal()].filter((key) => key.length >= 8 && key !== 'minioadmin');
}

function withoutSecrets(
  secrets: readonly string[],
  said: { findings: readonly Finding[]; repairs: readonly Repair[] },
): { findings: Finding[]; repairs: Repair[] } {
  const clean = (text: string) =>
    secrets.reduce((left, secret) => left.replaceAll(secret, '[redacted]'), text);
  return {
    findings: said.findings.map((finding) => ({
      ...finding,
      what: clean(finding.what),
      fix: clean(finding.fix),
    })),
    repairs: said.repairs.map((repair) => ({ ...repair, what: clean(repair.what) })),
  };
}

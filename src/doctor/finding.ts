/**
 * What `lvp doctor` says about one thing. These names are those of `lvp doctor --json`, so they are stable: fields
 * and checks are added, never renamed.
 */
import { z } from 'zod';

/** From the worst down: broken, weaker than advised, could not be looked at, worth knowing, as it should be. */
const SEVERITIES = ['fail', 'warn', 'unknown', 'info', 'ok'] as const;
export const Severity = z.enum(SEVERITIES);
export type Severity = z.infer<typeof Severity>;

export const Finding = z.object({
  /** Of the check, for instance `units.daemon.no-new-privileges`: its group, a dot, and the rest. */
  id: z.string(),
  title: z.string(),
  severity: Severity,
  /** What was found; for `unknown`, why it could not be found out. */
  what: z.string(),
  why: z.string(),
  /** The document and section, or the advisory, that asks for it. */
  source: z.string(),
  /** What a person can do about it. */
  fix: z.string(),
  /** Whether `lvp doctor --fix` would do it. */
  fixable: z.boolean(),
});
export type Finding = z.infer<typeof Finding>;

/** One repair of `--fix`. */
export const Repair = z.object({
  /** The checks that asked for it. */
  ids: z.array(z.string()),
  done: z.boolean(),
  /** What was done, or why it could not be. */
  what: z.string(),
});
export type Repair = z.infer<typeof Repair>;

export const Report = z.object({
  version: z.string(),
  /** The worst of all findings. */
  worst: Severity,
  counts: z.record(Severity, z.number()),
  findings: z.array(Finding),
  /** With `--fix`: what was done before these findings. */
  repairs: z.array(Repair),
});
export type Report = z.infer<typeof Report>;

/** How many there are of each severity. */
export function countBySeverity(findings: readonly Finding[]): Record<Severity, number> {
  const count = (wanted: Severity) => findings.filter(({ severity }) => severity === wanted).length;
  return {
    fail: count('fail'),
    warn: count('warn'),
    unknown: count('unknown'),
    info: count('info'),
    ok: count('ok'),
  };
}

/** The worst severity among the findings; `ok` if there are none. */
export function worstOf(findings: readonly Finding[]): Severity {
  return SEVERITIES.find((severity) => findings.some((finding) => finding.severity === severity)) ?? 'ok';
}

/** The first word of a check's id. */
export function groupOf({ id }: Pick<Finding, 'id'>): string {
  return id.split('.')[0] ?? id;
}

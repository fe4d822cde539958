/** What a check is made of. */
import type { Severity } from './finding.ts';
import type { Answer, ConfigFacts, Host, HostFacts } from './host.ts';

export interface Verdict {
  readonly severity: Severity;
  readonly what: string;
  /** Where it depends on what was found; else that of the check. */
  readonly fix?: string;
  /** False if this one is for a person, although the check has a repair. */
  readonly repairable?: boolean;
}

export interface Check {
  /** Stable, and beginning with the name of its group. */
  readonly id: string;
  readonly title: string;
  readonly why: string;
  readonly source: string;
  readonly fix: string;
  /** May throw CannotTell. */
  readonly look: (host: HostFacts) => Promise<Verdict>;
  /** Safe, and nothing that cannot be taken back. Checks that share one share its being done. Says what it did. */
  readonly repair?: (host: Host) => Promise<string>;
}

/** The check cannot be made; the message says why. */
export class CannotTell extends Error {
  override readonly name = 'CannotTell';
}

export const ok = (what: string): Verdict => ({ severity: 'ok', what });
export const info = (what: string): Verdict => ({ severity: 'info', what });
export const warn = (what: string, more: Partial<Verdict> = {}): Verdict => ({
  severity: 'warn',
  what,
  ...more,
});
export const fail = (what: string, more: Partial<Verdict> = {}): Verdict => ({
  severity: 'fail',
  what,
  ...more,
});

/** What was asked for; without it the check cannot be made. */
export function must<T>(answer: Answer<T>, about: string): T {
  if (answer.is === 'known') return answer.value;
  throw new CannotTell(answer.is === 'absent' ? `${about} is not there` : `${about}: ${answer.why}`);
}

/** Undefined if there is no such thing; without an answer the check cannot be made. */
export function ifThere<T>(answer: Answer<T>, about: string): T | undefined {
  return answer.is === 'absent' ? undefined : must(answer, about);
}

/** The program's configuration. What is wrong with it is said once, by health.config. */
export async function configOf(host: HostFacts): Promise<ConfigFacts> {
  const config = await host.config();
  if (config.is === 'known') return config.value;
  throw new CannotTell('the configuration cannot be read: see health.config');
}

/** The sections of documents that findings refer to; docs/security.md says which documents these are. */
export const SOURCE = {
  guide: (section: string) => `security guide, "${section}"`,
  usage: (section: string) => `libvirt's secure usage guide, "${section}"`,
  notes: (section: string) => `host security notes, ${section}`,
  design: (section: string) => `docs/design.md, "${section}"`,
  operate: (section: string) => `docs/operate.md, "${section}"`,
  encryption: (section: string) => `docs/encryption.md, "${section}"`,
  thin: (section: string) => `docs/thin.md, "${section}"`,
} as const;

/** `0640` */
export function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

/** The first few of them, and how many more there are. */
export function some(names: readonly string[], max = 5): string {
  const rest = names.length - max;
  return rest > 0 ? `${names.slice(0, max).join(', ')} and ${rest} more` : names.join(', ');
}

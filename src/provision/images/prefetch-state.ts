/** How far prefetching is: what each rule found, what failed and when it is tried again. In memory alone. */
import type { Problem } from '../../core/errors.ts';
import type { ChosenImage, Choice, PrefetchRule } from '../../core/policy/prefetch-rule.ts';

interface Tried {
  /** Of the object, at that time. */
  readonly state: string;
  readonly tries: number;
  /** Undefined: it is here. */
  readonly problem?: Problem | undefined;
  readonly nextTryAtMs: number;
}

export interface RuleState {
  readonly rule: PrefetchRule;
  /** Unix time in ms; undefined: its bucket has not been listed yet. */
  readonly lookedAtMs?: number | undefined;
  readonly chosen: readonly string[];
  readonly beyond: number;
  /** Why its bucket could not be listed the last time. */
  readonly problem?: Problem | undefined;
}

export interface Now {
  readonly image: string;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

export class PrefetchState {
  readonly #rules: Map<PrefetchRule, RuleState>;
  readonly #tried = new Map<string, Tried>();
  /** What is being read. */
  now: Now | undefined;

  constructor(rules: readonly PrefetchRule[]) {
    this.#rules = new Map(rules.map((rule) => [rule, { rule, chosen: [], beyond: 0 }]));
  }

  rules(): readonly RuleState[] {
    return [...this.#rules.values()];
  }

  problemOf(image: string): Problem | undefined {
    return this.#tried.get(image)?.problem;
  }

  isHere(image: string): boolean {
    const tried = this.#tried.get(image);
    return tried !== undefined && tried.problem === undefined;
  }

  looked(rule: PrefetchRule, { chosen, beyond }: Choice, nowMs: number): void {
    const names = new Set(chosen.map(({ name }) => name));
    for (const name of this.#rules.get(rule)?.chosen ?? []) if (!names.has(name)) this.#tried.delete(name);
    this.#rules.set(rule, { rule, lookedAtMs: nowMs, chosen: [...names], beyond });
  }

  /** True if that is news. */
  notLooked(rule: PrefetchRule, problem: Problem): boolean {
    const before = this.#rules.get(rule) ?? { rule, chosen: [], beyond: 0 };
    this.#rules.set(rule, { ...before, problem });
    return before.problem?.code !== problem.code;
  }

  /** Whether something is to be done about it: it is new or another one, is missing, or is to be tried again. */
  isDue({ name, state }: ChosenImage, nowMs: number, isStillHere: boolean): boolean {
    const tried = this.#tried.get(name);
    if (tried?.state !== state) return true;
    return tried.problem === undefined ? !isStillHere : tried.nextTryAtMs <= nowMs;
  }

  brought({ name, state }: ChosenImage): void {
    this.#tried.set(name, { state, tries: 0, nextTryAtMs: Infinity });
  }

  /** True if that is news. */
  failed({ name, state }: ChosenImage, problem: Problem, againAtMs: (tries: number) => number): boolean {
    const before = this.#tried.get(name);
    const tries = before?.state === state ? before.tries + 1 : 1;
    this.#tried.set(name, { state, tries, problem, nextTryAtMs: againAtMs(tries) });
    return tries === 1 || before?.problem?.code !== problem.code;
  }

  /** Unix time in ms at which the first of the failed ones is due; Infinity: none is. */
  nextTryAtMs(): number {
    return Math.min(Infinity, ...[...this.#tried.values()].map(({ nextTryAtMs }) => nextTryAtMs));
  }
}

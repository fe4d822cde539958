/** A promise that was broken. Ends the run, with the seed and what led to it. */
export class Violation extends Error {
  readonly oracle: Oracle;

  constructor(oracle: Oracle, what: string) {
    super(`${oracle}: ${what}`);
    this.oracle = oracle;
  }
}

/** The promises, by the names that docs/reliability.md gives them. */
export const ORACLES = [
  'exact-bytes',
  'no-write-after-seal',
  'never-plain',
  'only-sealed-starts',
  'only-granted-keys',
  'annotated-key-opens',
  'erased-for-good',
  'keys-taken-back',
  'saved-untouched',
  'foreign-untouched',
  'incoming-not-filled',
  'names-mean-finished',
  'deleted-on-proof',
  'golden-untouched',
  'space-promised',
  'gate-in-time',
  'in-agreement',
  'nothing-left',
  'stays-stopped',
  'ready-in-the-end',
  'no-defect',
] as const;
export type Oracle = (typeof ORACLES)[number];

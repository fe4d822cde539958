/** One promise taken out of the program, and who must notice. */
import type { Oracle } from '../violation.ts';

export interface Change {
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly from: string;
  readonly to: string;
}

export interface Mutant {
  readonly name: string;
  /** Which promise it breaks; others may be broken sooner. */
  readonly killedBy: Oracle;
  readonly changes: readonly Change[];
}

/** The text of a source file with this change made; throws if there is not exactly one place for it. */
export function changed(text: string, { file, from, to }: Change): string {
  if (text.split(from).length !== 2) throw new Error(`src/${file} does not have this exactly once: ${from}`);
  return text.replace(from, () => to);
}

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

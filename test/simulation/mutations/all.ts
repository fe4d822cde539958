/** All mutants, in the order in which they are judged. */
import { AGREEMENT } from './agreement.ts';
import { BYTES } from './bytes.ts';
import { DELETION } from './deletion.ts';
import { ENCRYPTION } from './encryption.ts';
import { JOBS } from './jobs.ts';
import type { Mutant } from './mutant.ts';
import { POOLS } from './pools.ts';
import { REPROVISION } from './reprovision.ts';
import { STARTS } from './starts.ts';
import { THIN } from './thin.ts';
import { VOLUMES } from './volumes.ts';

export const MUTANTS: readonly Mutant[] = [
  ...BYTES,
  ...VOLUMES,
  ...STARTS,
  ...AGREEMENT,
  ...REPROVISION,
  ...DELETION,
  ...POOLS,
  ...JOBS,
  ...THIN,
  ...ENCRYPTION,
];

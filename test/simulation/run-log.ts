/** The program's own log: part of the trace, and every defect that the program notices by itself counts as one. */
import type { Problem } from '../../src/core/errors.ts';
import type { Log } from '../../src/provision/ports/host.ts';
import type { Simulation } from './simulation.ts';
import { Violation } from './violation.ts';

interface Fields {
  readonly problem?: Problem;
  readonly problems?: readonly Problem[];
  readonly err?: unknown;
}

export function runLog(run: Simulation): Log {
  const count = (fields: Fields, message: string): void => {
    run.census.count(`log ${message}`);
    const problems = fields.problem === undefined ? fields.problems : [fields.problem];
    for (const { code } of problems ?? []) run.census.count(`log ${message}: ${code}`);
  };
  const look = (fields: Fields, message: string): void => {
    count(fields, message);
    const { problem, err } = fields;
    const isExpected = `${problem?.message ?? ''}${String(err)}`.includes('SQLITE_FULL');
    if (problem?.code === 'INTERNAL' && !isExpected) {
      run.broken(new Violation('no-defect', `${message}: ${problem.message}`));
    }
    if (message !== 'looked at domain')
      run.say(`  log: ${message} ${problem?.code ?? ''} ${problem?.message ?? ''}`);
  };
  const log: Log = { debug: count, info: look, warn: look, error: look, child: () => log };
  return log;
}

/**
 * `npm run mutants`: is the simulation worth anything? Each mutant is the program with one of its promises
 * taken out; the simulation is run on a copy of it and must notice. A mutant that survives is a promise that
 * nobody watches over, and so is an oracle that notices none of them.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { MUTANTS } from './mutations/all.ts';
import type { Mutant } from './mutations/mutant.ts';
import { changed } from './mutations/mutant.ts';
import { ORACLES } from './violation.ts';

const ROOT = join(import.meta.dirname, '../..');
/** Runs a mutant has to survive to be called a survivor. */
const SEEDS = 3000;

function main(): number {
  const { values } = parseArgs({
    options: { seeds: { type: 'string', default: String(SEEDS) }, only: { type: 'string' } },
  });
  const { only } = values;
  const chosen = only === undefined ? MUTANTS : MUTANTS.filter(({ name }) => name.includes(only));
  let survivors = 0;
  const noticed = new Set<string>();
  for (const mutant of chosen) {
    const { killedBy, how } = judge(mutant, Number(values.seeds));
    if (killedBy === undefined) survivors += 1;
    else noticed.add(killedBy);
    // Another promise is often broken sooner than the one that is meant, depending on the seeds.
    const other =
      killedBy === undefined || killedBy === mutant.killedBy ? '' : ` (meant: ${mutant.killedBy})`;
    process.stdout.write(
      `${killedBy === undefined ? 'SURVIVES' : 'killed  '} ${mutant.name}: ${how}${other}\n`,
    );
  }
  const blind = chosen === MUTANTS ? ORACLES.filter((oracle) => !noticed.has(oracle)) : [];
  process.stdout.write(`${chosen.length} mutants, ${survivors} survive\n`);
  if (blind.length > 0) process.stdout.write(`Oracles that noticed none: ${blind.join(', ')}\n`);
  return survivors === 0 && blind.length === 0 ? 0 : 1;
}

function judge(mutant: Mutant, seeds: number): { readonly killedBy?: string; readonly how: string } {
  const folder = mkdtempSync(join(tmpdir(), 'lvp-mutant-'));
  try {
    for (const part of ['src', 'test/simulation', 'test/helper', 'package.json']) {
      cpSync(join(ROOT, part), join(folder, part), { recursive: true });
    }
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    for (const change of mutant.changes) {
      const path = join(folder, 'src', change.file);
      writeFileSync(path, changed(readFileSync(path, 'utf8'), change));
    }
    const script = join(folder, 'test/simulation/simulate.ts');
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [script, '--seed', '1', '--count', String(seeds), '--no-shrink'],
      { encoding: 'utf8', maxBuffer: 1 << 28 },
    );
    const [, seed, oracle, what] = /Broken with seed (\d+): ([a-z-]+): (.*)/.exec(stdout) ?? [];
    if (status === 0) return { how: `${seeds} runs notice nothing` };
    if (oracle === undefined) return { how: `it does not run: ${stderr.slice(0, 500)}` };
    return { killedBy: oracle, how: `${oracle}, seed ${seed}: ${what}` };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

process.exitCode = main();

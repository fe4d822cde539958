/**
 * `npm run mutants`: is the simulation worth anything? Each mutant is the program with one of its promises
 * taken out; the simulation is run on a copy of it and must notice. A mutant that survives is a promise that
 * nobody watches over.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Oracle } from './violation.ts';

const ROOT = join(import.meta.dirname, '../..');
/** Runs a mutant has to survive to be called a survivor. */
const SEEDS = 3000;

interface Change {
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly from: string;
  readonly to: string;
}

interface Mutant {
  readonly name: string;
  readonly killedBy: Oracle;
  readonly changes: readonly Change[];
}

const MUTANTS: readonly Mutant[] = [
  {
    name: 'nothing is synced before the seal',
    killedBy: 'exact-bytes',
    changes: [{ file: 'provision/stream-image.ts', from: 'await options.device.sync();', to: '' }],
  },
  {
    name: 'the digest is not compared',
    killedBy: 'exact-bytes',
    changes: [
      {
        file: 'core/proof.ts',
        from: 'if (expected === undefined || expected === found) return;',
        to: 'if (expected !== found || expected === found) return;',
      },
    ],
  },
  {
    name: 'the tail of the volume is not zeroed',
    killedBy: 'exact-bytes',
    changes: [
      { file: 'provision/stream-image.ts', from: 'await zero(run, offsetBytes, lengthBytes);', to: '' },
    ],
  },
  {
    name: 'a journal is written before the disk has the bytes',
    killedBy: 'exact-bytes',
    changes: [{ file: 'provision/checkpoints.ts', from: 'await device.sync();', to: '' }],
  },
  {
    name: 'a journal is written before the device has the bytes',
    killedBy: 'exact-bytes',
    changes: [{ file: 'provision/checkpoints.ts', from: 'await Promise.all(working);', to: '' }],
  },
  {
    name: 'an interrupted write is taken for a finished one',
    killedBy: 'exact-bytes',
    changes: [
      { file: 'provision/stream-image.ts', from: 'await work.writes.drain();', to: '' },
      { file: 'provision/lanes.ts', from: 'this.#failure ??= { error };', to: 'void error;' },
    ],
  },
  {
    name: 'what is read back may be anything',
    killedBy: 'exact-bytes',
    changes: [
      {
        file: 'provision/read-back.ts',
        from: 'if (device.difference !== undefined) throw differs(deviceName, device.difference);',
        to: 'void differs;',
      },
    ],
  },
  {
    name: 'the volume gets its final name before it is filled',
    killedBy: 'names-mean-finished',
    changes: [
      {
        file: 'helper/create.ts',
        from: 'await tools.lvm.create(volume.vg, privateName(volume.fillId), neededBytes, fillTags(volume));',
        to: `await tools.lvm.create(volume.vg, privateName(volume.fillId), neededBytes, fillTags(volume));
  await tools.lvm.rename(volume.vg, privateName(volume.fillId), volume.target);`,
      },
    ],
  },
  {
    name: 'the rename comes before the seal',
    killedBy: 'names-mean-finished',
    changes: [
      {
        file: 'helper/publish.ts',
        from: `    await seal(tools, request, held);
    await tools.lvm.rename(vg, privateName(fillId), target);`,
        to: `    await tools.lvm.rename(vg, privateName(fillId), target);
    await seal(tools, request, { ...held, lv: target });`,
      },
    ],
  },
  {
    name: 'the node is not taken from the service user before the seal',
    killedBy: 'no-write-after-seal',
    changes: [{ file: 'helper/publish.ts', from: 'await withdraw(tools, vg, held.lv);', to: '' }],
  },
  {
    name: 'a volume is taken over without a look at what is on it',
    killedBy: 'foreign-untouched',
    changes: [
      { file: 'helper/examine.ts', from: 'return tools.devices.whyNotEmpty(row);', to: 'return undefined;' },
    ],
  },
  {
    name: 'a volume that somebody has open is taken over',
    killedBy: 'foreign-untouched',
    changes: [
      {
        file: 'helper/examine.ts',
        from: `  if (row.open) return 'it is open: something uses it';
  return tools.devices.whyNotEmpty(row);`,
        to: `  const why = await tools.devices.whyNotEmpty(row);
  return why === 'something uses it' ? undefined : why;`,
      },
    ],
  },
  {
    name: 'a half-finished adoption is removed instead of given back',
    killedBy: 'foreign-untouched',
    changes: [
      {
        file: 'helper/discard.ts',
        from: `    await undoAdoption(tools, held);
    return null;`,
        to: `    await tools.lvm.remove(vg, held.lv, fillTags(mark));
    return null;`,
      },
    ],
  },
  {
    name: "another domain's seal is good enough",
    killedBy: 'only-sealed-starts',
    changes: [
      {
        file: 'core/plan.ts',
        from: 'if (seal.domainUuid !== input.domain.uuid) {',
        to: 'if (seal.domainUuid === "") {',
      },
    ],
  },
  {
    name: 'any generation is good enough',
    killedBy: 'only-sealed-starts',
    changes: [
      {
        file: 'core/plan.ts',
        from: 'if (seal.generation !== request.generation) {',
        to: 'if (seal.generation < 1) {',
      },
    ],
  },
  {
    name: 'a volume that is being filled may be started on',
    killedBy: 'only-sealed-starts',
    changes: [
      {
        file: 'core/plan.ts',
        from: "planned.disks.every((disk) => disk.action === 'none')",
        to: "planned.disks.every((disk) => disk.action !== 'refuse')",
      },
      {
        file: 'core/plan.ts',
        from: 'const refused = refuseNotBlank(input, disk);\n    if (refused !== undefined) return refused;',
        to: 'void refuseNotBlank;',
      },
    ],
  },
  {
    name: 'an arriving domain is filled',
    killedBy: 'incoming-not-filled',
    changes: [
      { file: 'provision/reconcile.ts', from: 'if (this.incoming.has(domain.uuid)) return;', to: '' },
      {
        file: 'provision/admit-start.ts',
        from: "const mayFill = operation === 'prepare' && !reconciler.incoming.has(domainUuid);",
        to: 'const mayFill = true;',
      },
    ],
  },
  {
    name: 'nothing is reclaimed',
    killedBy: 'nothing-left',
    changes: [
      {
        file: 'provision/reclaim.ts',
        from: 'const litter = planReclaim(accounts);',
        to: 'const litter = planReclaim({ ...accounts, volumes: [] });',
      },
    ],
  },
  {
    name: 'a sealed volume without its final name is left alone when its domain goes',
    killedBy: 'nothing-left',
    changes: [
      {
        file: 'provision/reclaim.ts',
        from: 'const orphans = planFinish(accounts);',
        to: 'const orphans = planFinish({ ...accounts, volumes: [] });',
      },
    ],
  },
  {
    name: 'forgetting a domain does not cancel its fills',
    killedBy: 'in-agreement',
    changes: [
      {
        file: 'provision/reconcile.ts',
        from: `        fills.cancel(
          fill.fillId,
          found`,
        to: `        ((...nothing: unknown[]) => nothing)(
          fill.fillId,
          found`,
      },
    ],
  },
  {
    name: 'passing failures are never tried again',
    killedBy: 'ready-in-the-end',
    changes: [
      {
        file: 'provision/reconcile.ts',
        from: 'if (disk.retryAtMs !== undefined) this.#requestAt(domain.uuid, disk.retryAtMs);',
        to: '',
      },
      {
        file: 'provision/reconcile.ts',
        from: '    this.requestKnown();\n    for (const uuid of await reclaim(',
        to: '    for (const uuid of await reclaim(',
      },
      {
        file: 'provision/reconcile.ts',
        from: 'for (const uuid of await this.#needs.domains.list()) this.#queue.add(uuid);',
        to: '',
      },
    ],
  },
  {
    name: 'a new life of the daemon looks at nothing',
    killedBy: 'ready-in-the-end',
    changes: [
      {
        file: 'provision/reconcile.ts',
        from: 'for (const uuid of await this.#needs.domains.list()) this.#queue.add(uuid);',
        to: '',
      },
    ],
  },
  {
    name: 'libvirt is not told of a published volume',
    killedBy: 'ready-in-the-end',
    changes: [
      { file: 'provision/publish-volume.ts', from: 'await needs.pools.refresh(pool);', to: 'void pool;' },
    ],
  },
  {
    name: 'a volume on which a guest has run is given to the next try',
    killedBy: 'exact-bytes',
    changes: [
      {
        file: 'core/plan.ts',
        from: 'return input.firstStarts.get(domainUuid) === input.domain.name;',
        to: 'return domainUuid !== input.domain.uuid;',
      },
    ],
  },
  {
    name: 'the gate waits for the whole fill',
    killedBy: 'gate-in-time',
    changes: [
      {
        file: 'provision/admit-start.ts',
        from: 'needs.clock.sleep(waitMs, grace.signal)',
        to: 'needs.clock.sleep(600_000, grace.signal)',
      },
    ],
  },
  {
    name: 'the rows of an interrupted fill are taken for running',
    killedBy: 'in-agreement',
    changes: [
      {
        file: 'core/plan.ts',
        from: 'if (record === undefined || !input.running.has(record.fillId)) return undefined;',
        to: 'if (record === undefined || (!input.running.has(record.fillId) && !isUnfinished(record.state))) return undefined;',
      },
    ],
  },
];

function main(): number {
  const { values } = parseArgs({
    options: { seeds: { type: 'string', default: String(SEEDS) }, only: { type: 'string' } },
  });
  const chosen = MUTANTS.filter(({ name }) => values.only === undefined || name.includes(values.only));
  let survivors = 0;
  for (const mutant of chosen) {
    const verdict = judge(mutant, Number(values.seeds));
    if (!verdict.isKilled) survivors += 1;
    process.stdout.write(`${verdict.isKilled ? 'killed  ' : 'SURVIVES'} ${mutant.name}: ${verdict.how}\n`);
  }
  process.stdout.write(`${chosen.length} mutants, ${survivors} survive\n`);
  return survivors === 0 ? 0 : 1;
}

function judge(mutant: Mutant, seeds: number): { readonly isKilled: boolean; readonly how: string } {
  const folder = mkdtempSync(join(tmpdir(), 'lvp-mutant-'));
  try {
    for (const part of ['src', 'test/simulation', 'test/helper', 'package.json']) {
      cpSync(join(ROOT, part), join(folder, part), { recursive: true });
    }
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    for (const change of mutant.changes) apply(folder, mutant, change);
    const script = join(folder, 'test/simulation/simulate.ts');
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [script, '--seed', '1', '--count', String(seeds), '--no-shrink'],
      { encoding: 'utf8', maxBuffer: 1 << 28 },
    );
    const [, seed, oracle, what] = /Broken with seed (\d+): ([a-z-]+): (.*)/.exec(stdout) ?? [];
    if (status === 0) return { isKilled: false, how: `${seeds} runs notice nothing` };
    if (oracle === undefined) return { isKilled: false, how: `it does not run: ${stderr.slice(0, 500)}` };
    return { isKilled: oracle === mutant.killedBy, how: `${oracle}, seed ${seed}: ${what}` };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function apply(folder: string, { name }: Mutant, { file, from, to }: Change): void {
  const path = join(folder, 'src', file);
  const text = readFileSync(path, 'utf8');
  if (text.split(from).length !== 2) {
    throw new Error(`mutant "${name}": src/${file} does not have this exactly once any more: ${from}`);
  }
  writeFileSync(
    path,
    text.replace(from, () => to),
  );
}

process.exitCode = main();

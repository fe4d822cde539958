/**
 * Goal: every image that QEMU can make is read as QEMU reads it. Method: images over all options of
 * qemu-img, with random writes, discards and zeroings by qemu-io, against `qemu-img convert`. A failure
 * names its seed; DIFFERENTIAL_SEED=… DIFFERENTIAL_COUNT=1 plays it again.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { decode } from '../core/images/memory-volume.ts';
import { seededRandom } from '../core/images/random.ts';
import { randomRecipe } from './random-recipes.ts';
import type { RandomRecipe } from './random-recipes.ts';

const FIRST_SEED = Number(process.env['DIFFERENTIAL_SEED'] ?? 1);
const COUNT = Number(process.env['DIFFERENTIAL_COUNT'] ?? 600);
/** Images in one test, two at a time: what takes time is starting qemu's programs. */
const BATCH = 50;
const LANES = 2;
const TAIL_BYTES = 70_000;

const folder = mkdtempSync(join(tmpdir(), 'differential-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const execute = promisify(execFile);
const run = (program: string, ...args: string[]) => execute(program, args, { timeout: 60_000 });
const io = (path: string, commands: readonly string[]) =>
  commands.length === 0
    ? Promise.resolve()
    : run('qemu-io', '-f', 'qcow2', ...commands.flatMap((command) => ['-c', command]), path);

async function makeImage(recipe: RandomRecipe): Promise<string> {
  const path = join(folder, `${recipe.seed}.qcow2`);
  const options = recipe.options.join(',');
  const create = (file: string) =>
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', options, file, String(recipe.sizeBytes));
  if (recipe.compressed) {
    await create(`${path}.source`);
    await io(`${path}.source`, recipe.before);
    await run(
      ...(['qemu-img', 'convert', '-q', '-c', '-f', 'qcow2', '-O', 'qcow2', '-o', options] as const),
      ...[`${path}.source`, path],
    );
    await rm(`${path}.source`);
    await io(path, recipe.after);
  } else {
    await create(path);
    await io(path, recipe.before);
  }
  if (recipe.grownBytes !== undefined) {
    await run('qemu-img', 'resize', '-q', '-f', 'qcow2', path, String(recipe.grownBytes));
  }
  return path;
}

async function compare(recipe: RandomRecipe): Promise<void> {
  const path = await makeImage(recipe);
  await run('qemu-img', 'convert', '-q', '-f', 'qcow2', '-O', 'raw', path, `${path}.raw`);
  const object = await readFile(path);
  const expected = Buffer.concat([await readFile(`${path}.raw`), Buffer.alloc(TAIL_BYTES)]);
  const chunkBytes = 1000 + Math.floor(seededRandom(recipe.seed + 1)() * 300_000);
  const { volume } = await decode('qcow2', object, { chunkBytes, tailBytes: TAIL_BYTES });
  const isEqual = Buffer.compare(volume.bytes, expected) === 0;
  if (!isEqual) throw new Error('the volume differs from what qemu-img makes of the image');
  await Promise.all([rm(path), rm(`${path}.raw`)]);
}

async function compareSeeds(seeds: number[]): Promise<string[]> {
  const failures: string[] = [];
  const lane = async () => {
    for (let seed = seeds.shift(); seed !== undefined; seed = seeds.shift()) {
      const recipe = randomRecipe(seed);
      await compare(recipe).catch((error: unknown) => {
        const replay = `DIFFERENTIAL_SEED=${recipe.seed} DIFFERENTIAL_COUNT=1 npx vitest run --project fuzz differential`;
        failures.push(`${String(error)}; ${JSON.stringify(recipe)}; replay: ${replay}`);
      });
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return failures;
}

describe('an image made by QEMU decodes to what qemu-img makes of it', () => {
  const batches = Array.from({ length: Math.ceil(COUNT / BATCH) }, (_, index) => FIRST_SEED + index * BATCH);
  it.each(batches)('seeds from %i on', { timeout: 300_000 }, async (first) => {
    const count = Math.min(BATCH, FIRST_SEED + COUNT - first);
    expect(await compareSeeds(Array.from({ length: count }, (_, index) => first + index))).toEqual([]);
  });
});

/** A thread that runs seeds for seeds.ts: chunk after chunk, until it is ended. */
import { parentPort, workerData } from 'node:worker_threads';
import type { Chunk, ChunkDone } from './seeds.ts';
import { Census } from './census.ts';
import { simulate } from './simulation.ts';
import { whereInTheSource } from './where.ts';

const { isWhere } = workerData as { readonly isWhere: boolean };
const where = isWhere ? whereInTheSource : undefined;

parentPort?.on('message', ({ from, to }: Chunk) => {
  void run(from, to).then((done) => {
    parentPort?.postMessage(done);
  });
});

async function run(from: number, to: number): Promise<ChunkDone> {
  const census = new Census();
  for (let seed = from; seed < to; seed++) {
    const outcome = await simulate(seed, { where });
    census.add(outcome.census.entries());
    if (outcome.violation !== undefined) return { broken: seed, census: census.entries() };
  }
  return { broken: undefined, census: census.entries() };
}

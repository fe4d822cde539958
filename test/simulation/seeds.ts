/** Many runs, on all processors: each thread takes the next few seeds when it has finished its last ones. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { Census } from './census.ts';

/** How many runs the checks do, from seed 1 on; some two minutes on two processors. */
export const SEEDS = 10_000;
const CHUNK_SEEDS = 25;

/** Seeds from one to before another. */
export interface Chunk {
  readonly from: number;
  readonly to: number;
}

export interface ChunkDone {
  readonly broken: number | undefined;
  readonly census: readonly (readonly [string, number])[];
}

export interface SeedsDone {
  /** The first seed with which a promise was broken. */
  readonly broken: number | undefined;
  readonly census: Census;
}

export interface SeedsOptions {
  readonly threads?: number | undefined;
  /** Counts awaits by their place in the source; slower. */
  readonly isWhere?: boolean | undefined;
}

export async function runSeeds(from: number, count: number, options: SeedsOptions = {}): Promise<SeedsDone> {
  const census = new Census();
  let next = from;
  let broken: number | undefined;
  const takeChunk = (): Chunk | undefined => {
    if (next >= from + count || broken !== undefined) return undefined;
    const chunk = { from: next, to: Math.min(next + CHUNK_SEEDS, from + count) };
    next = chunk.to;
    return chunk;
  };
  const work = async (): Promise<void> => {
    const workerData = { isWhere: options.isWhere ?? false };
    const worker = new Worker(new URL('./seeds-worker.ts', import.meta.url), { workerData, execArgv: [] });
    try {
      for (let chunk = takeChunk(); chunk !== undefined; chunk = takeChunk()) {
        const done = await run(worker, chunk);
        census.add(done.census);
        if (done.broken !== undefined) broken = Math.min(done.broken, broken ?? Infinity);
      }
    } finally {
      await worker.terminate();
    }
  };
  const threads = Math.min(options.threads ?? availableParallelism(), Math.ceil(count / CHUNK_SEEDS));
  await Promise.all(Array.from({ length: threads }, work));
  return { broken, census };
}

function run(worker: Worker, chunk: Chunk): Promise<ChunkDone> {
  return new Promise((resolve, reject) => {
    const onExit = (): void => {
      reject(new Error(`the thread for the seeds ${chunk.from} to ${chunk.to - 1} has ended`));
    };
    worker.once('error', reject);
    worker.once('exit', onExit);
    worker.once('message', (done: ChunkDone) => {
      worker.off('error', reject);
      worker.off('exit', onExit);
      resolve(done);
    });
    worker.postMessage(chunk);
  });
}

/** One part of docs/performance.md measured, with what it needs removed again however it ends. */
import { constants } from 'node:os';
import type { Part } from './report-file.ts';
import { writePart } from './report-file.ts';
import { Cleanup, endAll } from './shell.ts';

/** Prints what `measure` says, and with `write` puts it into the document, too. Needs root. */
export async function runPart(
  part: Part,
  write: boolean,
  measure: (cleanup: Cleanup) => Promise<string>,
): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('loop devices and namespaces need root');
  const cleanup = new Cleanup();
  const stopped = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (stopped.signal.aborted) return;
      stopped.abort();
      void endAll()
        .then(() => cleanup.all())
        .finally(() => process.exit(128 + constants.signals[signal]));
    });
  }
  try {
    process.stdout.write(await writePart(part, await measure(cleanup), write));
  } catch (error) {
    // What a signal has ended is no failure of its own.
    if (!stopped.signal.aborted) throw error;
  } finally {
    await cleanup.all();
  }
}

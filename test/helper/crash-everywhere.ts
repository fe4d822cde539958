/** A verb of the helper that dies at every point it can die at, and is called again. */
import { expect } from 'vitest';
import { ProvisionError } from '../../src/core/errors.ts';
import { Crash } from './memory-lvm.ts';
import type { MemoryLvm } from './memory-lvm.ts';

export type Verb = (model: MemoryLvm) => Promise<unknown>;

/** Runs a verb once for each point it can crash at, then again without a crash. */
export async function crashEverywhere(
  begin: () => MemoryLvm,
  verb: Verb,
  afterCrash: (model: MemoryLvm) => void,
  afterRepeat: (model: MemoryLvm, repeated: Promise<unknown>) => Promise<void>,
): Promise<number> {
  const dry = begin();
  await verb(dry).catch(() => undefined);
  for (let step = 1; step <= dry.steps.length; step += 1) {
    for (const when of ['before', 'after'] as const) {
      const model = begin();
      model.crashAt = { step, when };
      await expect(verb(model)).rejects.toThrow(Crash);
      afterCrash(model);
      model.crashAt = undefined;
      await afterRepeat(model, verb(model));
    }
  }
  return dry.steps.length;
}

/** Of the error it fails with. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return error instanceof ProvisionError ? error.code : String(error);
}

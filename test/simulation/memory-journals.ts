/** Checkpoints without files: durable when written, or not written; a life that is over writes none. */
import { ProvisionError } from '../../src/core/errors.ts';
import type { FillCheckpoint, FillJournals } from '../../src/provision/ports.ts';
import type { Faults } from './faults.ts';
import type { Life } from './life.ts';

export class MemoryJournals {
  readonly #faults: Faults;
  #checkpoints = new Map<string, FillCheckpoint>();

  constructor(faults: Faults) {
    this.#faults = faults;
  }

  lose(): void {
    this.#checkpoints = new Map();
  }

  of(daemon: Life): FillJournals {
    const step = async (): Promise<void> => {
      await daemon.step();
      if (!this.#faults.strikes('journalFails')) return;
      throw new ProvisionError({ code: 'STATE_FOLDER_FAILED', message: 'ENOSPC: no space left on device' });
    };
    return {
      read: async (fillId) => {
        await daemon.step();
        return this.#checkpoints.get(fillId);
      },
      write: async (fillId, checkpoint) => {
        await step();
        this.#checkpoints.set(fillId, checkpoint);
        await daemon.step();
      },
      remove: async (fillId) => {
        await step();
        this.#checkpoints.delete(fillId);
      },
      keepOnly: async (fillIds) => {
        await step();
        for (const fillId of this.#checkpoints.keys()) {
          if (!fillIds.has(fillId)) this.#checkpoints.delete(fillId);
        }
      },
    };
  }
}

/** Checkpoints without files: durable when written, or not written; a life that is over writes none. */
import { ProvisionError } from '../../src/core/errors.ts';
import type { FillCheckpoint, FillJournals } from '../../src/provision/ports/fill-journals.ts';
import type { Faults } from './faults.ts';
import type { Life } from './life.ts';

export class MemoryJournals {
  readonly #faults: Faults;
  readonly #onWrite: (checkpoint: FillCheckpoint) => void;
  #checkpoints = new Map<string, FillCheckpoint>();

  constructor(faults: Faults, onWrite: (checkpoint: FillCheckpoint) => void) {
    this.#faults = faults;
    this.#onWrite = onWrite;
  }

  lose(): void {
    this.#checkpoints = new Map();
  }

  of(daemon: Life): FillJournals {
    const step = async (name: string): Promise<void> => {
      await daemon.step(`journal ${name}`);
      if (!this.#faults.strikes('journalFails')) return;
      throw new ProvisionError({ code: 'STATE_FOLDER_FAILED', message: 'ENOSPC: no space left on device' });
    };
    return {
      read: async (fillId) => {
        await daemon.step('journal read');
        return this.#checkpoints.get(fillId);
      },
      write: async (fillId, checkpoint) => {
        await step('write');
        this.#onWrite(checkpoint);
        this.#checkpoints.set(fillId, checkpoint);
        await daemon.step('journal written');
      },
      remove: async (fillId) => {
        await step('remove');
        this.#checkpoints.delete(fillId);
        await daemon.step('journal removed');
      },
      keepOnly: async (fillIds) => {
        await step('keep only');
        for (const fillId of this.#checkpoints.keys()) {
          if (!fillIds.has(fillId)) this.#checkpoints.delete(fillId);
        }
      },
    };
  }
}

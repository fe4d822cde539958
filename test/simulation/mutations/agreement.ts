/** Ledger, volumes and domains agree, nothing is left, and everything gets ready in the end. */
import type { Mutant } from './mutant.ts';

export const AGREEMENT: readonly Mutant[] = [
  {
    name: 'nothing is reclaimed',
    killedBy: 'nothing-left',
    changes: [
      {
        file: 'provision/ends/reclaim.ts',
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
        file: 'provision/ends/reclaim.ts',
        from: 'const orphans = planFinish(accounts);',
        to: 'const orphans = planFinish({ ...accounts, volumes: [] });',
      },
    ],
  },
  {
    name: 'passing failures are never tried again',
    killedBy: 'ready-in-the-end',
    changes: [
      {
        file: 'core/plan/held.ts',
        from: 'if (pauseMs <= 0 || pauseMs > RETRY_MAX_MS) return undefined;',
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
      { file: 'provision/fill/publish-volume.ts', from: 'await pools.refresh(pool);', to: 'void pools;' },
    ],
  },
  {
    name: 'the rows of an interrupted fill are taken for running',
    killedBy: 'in-agreement',
    changes: [
      {
        file: 'core/plan/unfinished.ts',
        from: 'if (record === undefined || !input.running.has(record.fillId)) return undefined;',
        to: 'if (record === undefined || (!input.running.has(record.fillId) && !isUnfinished(record.state))) return undefined;',
      },
      {
        file: 'core/plan/unfinished.ts',
        from: 'import { goesOn, sameRequest, volumeKey }',
        to: 'import { goesOn, isUnfinished, sameRequest, volumeKey }',
      },
    ],
  },
];

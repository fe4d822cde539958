/** Pools that stop, and who may start them. */
import type { Mutant } from './mutant.ts';

export const POOLS: readonly Mutant[] = [
  {
    name: 'a pool that a refresh has stopped is left stopped',
    killedBy: 'ready-in-the-end',
    changes: [
      {
        file: 'provision/pools/pool-keeper.ts',
        from: 'const isFree = before === undefined || before.activeSinceMs !== undefined;',
        to: 'const isFree = before !== undefined && before.activeSinceMs === undefined;',
      },
    ],
  },
  {
    name: 'a pool is started whoever has stopped it',
    killedBy: 'stays-stopped',
    changes: [
      {
        file: 'provision/pools/pool-keeper.ts',
        from: 'const stillOpen = open.find(({ uuid }) => before?.has(uuid) === true);',
        to: 'const stillOpen = before && volumes[0];',
      },
      {
        file: 'provision/pools/pool-keeper.ts',
        from: 'if (!volumes.some((volume) => volume.uuid === uuid && volume.open)) return;',
        to: 'if (!volumes.some((volume) => volume.uuid === uuid)) return;',
      },
    ],
  },
];

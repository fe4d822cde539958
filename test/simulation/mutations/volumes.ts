/** Names, tags and volumes of somebody else. */
import type { Mutant } from './mutant.ts';

export const VOLUMES: readonly Mutant[] = [
  {
    name: 'the volume gets its final name before it is filled',
    killedBy: 'names-mean-finished',
    changes: [
      {
        file: 'helper/create.ts',
        from: 'await tools.lvm.create(volume.vg, name, neededBytes, fillTags(volume));',
        to: `await tools.lvm.create(volume.vg, name, neededBytes, fillTags(volume));
  await tools.lvm.rename(volume.vg, name, volume.target);`,
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
];

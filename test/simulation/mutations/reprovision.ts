/** A published volume that is made again, and the one that stands aside meanwhile. */
import type { Mutant } from './mutant.ts';

export const REPROVISION: readonly Mutant[] = [
  {
    name: 'what was put aside is removed without the word of the ledger',
    killedBy: 'names-mean-finished',
    changes: [
      {
        file: 'core/plan/retired.ts',
        from: "action: isReplacedBy(input.fills, retired, holder) ? 'remove' : 'leave'",
        to: "action: isReplacedBy(input.fills, retired, holder) || holder !== undefined ? 'remove' : 'leave'",
      },
    ],
  },
  {
    name: 'what was put aside does not get its name back',
    killedBy: 'nothing-left',
    changes: [
      {
        file: 'core/plan/retired.ts',
        from: "isAlone && !isAfter ? 'restore' : 'leave'",
        to: "isAlone && !isAfter && input.volumes.length === 0 ? 'restore' : 'leave'",
      },
    ],
  },
  {
    name: 'what was replaced is not removed',
    killedBy: 'nothing-left',
    changes: [
      {
        file: 'provision/ends/settle-retired.ts',
        from: 'await needs.pools.deleteVolume(pool.name, volume.lv);',
        to: '',
      },
    ],
  },
  {
    name: 'the volume to be made again is given up at once',
    killedBy: 'names-mean-finished',
    changes: [
      {
        file: 'provision/ends/reprovision.ts',
        from: "fills.begin(record, { from: 'new' });",
        to: "fills.begin(record, { from: 'new' }); await needs.pools.deleteVolume(location.pool, `lvp-old-${seal.fillId}`);",
      },
    ],
  },
  {
    name: 'a volume is made again while the memory of its guest is saved',
    killedBy: 'saved-untouched',
    changes: [
      {
        file: 'provision/ends/reprovision.ts',
        from: 'if (await needs.domains.hasManagedSave(found.uuid)) {',
        to: "if ((await needs.domains.hasManagedSave(found.uuid)) && target === '') {",
      },
    ],
  },
  {
    name: 'a lost volume is made again while the memory of its guest is saved',
    killedBy: 'saved-untouched',
    changes: [
      {
        file: 'provision/control-verbs.ts',
        from: 'if (hasMemory) requireNothingLost(before, records);',
        to: 'void [hasMemory, requireNothingLost];',
      },
    ],
  },
  {
    name: 'a volume is put aside whoever has it open, and stays there',
    killedBy: 'exact-bytes',
    changes: [
      {
        file: 'provision/ends/reprovision.ts',
        from: 'if (volume.open) {',
        to: 'if (volume.open && volume.sizeBytes === 0) {',
      },
      {
        file: 'provision/ends/reprovision.ts',
        from: 'if (found.active) {',
        to: 'if (found.active && found.name === "") {',
      },
      {
        file: 'helper/retire.ts',
        from: 'await waitClosed(tools, vg, held.lv);',
        to: '',
      },
      {
        file: 'helper/retire.ts',
        from: 'await waitClosed(tools, vg, aside).catch(async (error: unknown) => {',
        to: 'await Promise.resolve().catch(async (error: unknown) => {',
      },
    ],
  },
];

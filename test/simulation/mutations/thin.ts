/** Golden volumes, clones, and what a thin pool promises. */
import type { Mutant } from './mutant.ts';

export const THIN: readonly Mutant[] = [
  {
    name: 'a golden volume that somebody can write to is cloned',
    killedBy: 'golden-untouched',
    changes: [
      { file: 'core/thin/golden.ts', from: "[volume.writable, 'can be written to'],", to: '' },
      { file: 'helper/clone.ts', from: "row.writable ? 'can be written to' : ", to: '' },
    ],
  },
  {
    name: 'a golden volume is sealed before nobody can write to it',
    killedBy: 'golden-untouched',
    changes: [
      {
        file: 'helper/publish-golden.ts',
        from: `    await shut(tools, vg, held.lv);
    await exchangeTags(`,
        to: '    await exchangeTags(',
      },
    ],
  },
  {
    name: 'a clone is not grown',
    killedBy: 'exact-bytes',
    changes: [
      {
        file: 'helper/clone.ts',
        from: 'await tools.lvm.extend(vg, name, wantedBytes);',
        to: 'void 0;',
      },
    ],
  },
  {
    name: 'a damaged golden volume is called sound',
    killedBy: 'golden-untouched',
    changes: [
      {
        file: 'provision/golden/golden-volumes.ts',
        from: 'const isSound = found === golden.seal.contentSha256;',
        to: 'const isSound = found.length === golden.seal.contentSha256.length;',
      },
    ],
  },
  {
    name: 'the only golden volume of an image is taken for a second one',
    killedBy: 'golden-untouched',
    changes: [
      {
        file: 'core/thin/golden.ts',
        from: 'if (serving.has(key)) return',
        to: 'if (!serving.has(key)) return',
      },
    ],
  },
  {
    name: 'golden volumes that somebody has made writable stay',
    killedBy: 'nothing-left',
    changes: [
      {
        file: 'provision/golden/golden-removals.ts',
        from: "await this.drop(golden, 'useless');",
        to: 'await Promise.resolve();',
      },
    ],
  },
  {
    name: 'a golden volume goes while a volume is made of it',
    killedBy: 'golden-untouched',
    changes: [
      {
        file: 'provision/golden/golden-removals.ts',
        from: 'if (this.isInUse(golden)) return Promise.reject(goldenInUse(golden));',
        to: '',
      },
    ],
  },
  {
    name: 'a golden volume goes though it is pinned',
    killedBy: 'golden-untouched',
    changes: [
      {
        file: 'provision/golden/golden-removals.ts',
        from: 'return this.#needs.isGoldenPinned?.(golden) ?? false;',
        to: 'return golden.lv.length === 0;',
      },
    ],
  },
  {
    name: 'golden volumes go though there is room for them',
    killedBy: 'golden-untouched',
    changes: [
      {
        file: 'core/thin/golden-budget.ts',
        from: 'if (heldBytes <= budgetBytes || isKept(golden)) return false;',
        to: 'if (isKept(golden)) return false;',
      },
    ],
  },
  {
    name: 'thin volumes count with nothing',
    killedBy: 'space-promised',
    changes: [
      {
        file: 'core/thin/thin-headroom.ts',
        from: 'return isForCheck ? 0 : volume.sizeBytes;',
        to: 'return isForCheck ? 0 : 0 * volume.sizeBytes;',
      },
    ],
  },
  {
    name: 'what others are making in a thin pool is not counted',
    killedBy: 'space-promised',
    changes: [
      {
        file: 'core/thin/thin-headroom.ts',
        from: 'return promisedBytes + reservedBytes + wantedBytes <= limitBytes;',
        to: 'return promisedBytes + 0 * reservedBytes + wantedBytes <= limitBytes;',
      },
    ],
  },
];

/**
 * cryptsetup, which takes time and can be killed: before it, after it, and where it leaves something half done. That is
 * no header at all while one is made, and a slot that is still called used while its key material is gone.
 */
import type { Luks } from '../../src/helper/cryptsetup.ts';
import type { VolumeRow } from '../../src/helper/lvm.ts';
import type { MemoryLvm } from '../helper/memory-lvm.ts';
import type { Command } from './command.ts';
import { asCommand } from './command.ts';
import type { Life } from './life.ts';

/** Runs what has an effect on keys, and looks at what they open before and after. */
export type JudgedKeys = (what: string, row: VolumeRow, effect: () => Promise<void>) => Promise<void>;

/** No key is the text of such a slot. */
const WIPED = '';

export function steppingLuks(
  luks: Luks,
  needs: {
    readonly model: MemoryLvm;
    readonly life: Life;
    readonly command: Command;
    readonly judged: JudgedKeys;
  },
): Luks {
  const { model, life, command, judged } = needs;
  const change = (name: string, row: VolumeRow, half: () => void, effect: () => Promise<void>) =>
    command(name, row.lv, row.lv, () =>
      judged(name, row, async () => {
        half();
        await life.step(`in ${name}`);
        await effect();
      }),
    );
  const slotsOf = ({ lv }: VolumeRow) => model.get(lv).header?.slots ?? [];
  return {
    ...luks,
    header: async (row) => {
      await life.step('luks header');
      return asCommand(() => luks.header(row));
    },
    opens: async (row, slot, key) => {
      await life.step('luks opens');
      return asCommand(() => luks.opens(row, slot, key));
    },
    format: (row, key) => {
      const unmake = () => {
        model.get(row.lv).header = undefined;
      };
      return change('luksFormat', row, unmake, () => luks.format(row, key));
    },
    open: async (row, name, key) => {
      let isRight = false;
      await command('luksOpen', row.lv, row.lv, async () => {
        isRight = await luks.open(row, name, key);
      });
      return isRight;
    },
    close: async (name) => {
      await life.step('before luksClose');
      const isClosed = await luks.close(name);
      await life.step('after luksClose');
      return isClosed;
    },
    mapping: async (name) => {
      await life.step('luks mapping');
      return luks.mapping(name);
    },
    addKey: (row, key, added) =>
      change(
        'luksAddKey',
        row,
        () => undefined,
        () => luks.addKey(row, key, added),
      ),
    killSlot: (row, slot, key) =>
      change(
        'luksKillSlot',
        row,
        () => {
          if (slotsOf(row)[slot] !== key.toString('latin1')) slotsOf(row)[slot] = WIPED;
        },
        () => luks.killSlot(row, slot, key),
      ),
    erase: (row) =>
      change(
        'luksErase',
        row,
        () => {
          slotsOf(row)[0] = WIPED;
        },
        () => luks.erase(row),
      ),
  };
}

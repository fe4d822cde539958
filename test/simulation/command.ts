/** Commands of LVM and cryptsetup in the simulation. */
import { ProvisionError } from '../../src/core/errors.ts';

/** A command with an effect on an LV, which had the name `from` before. */
export type Command = (name: string, lv: string, from: string, effect: () => Promise<void>) => Promise<void>;

/** The model of LVM complains in its own words; the real one is a command that exits with an error. */
export async function asCommand<T>(effect: () => Promise<T>): Promise<T> {
  try {
    return await effect();
  } catch (error) {
    const isModel = error instanceof Error && /^(lvm|lvremove):/.test(error.message);
    throw isModel ? new ProvisionError({ code: 'HELPER_FAILED', message: error.message }) : error;
  }
}

/** Deeds of others who use the volume group: volumes of theirs, and what they do to ours. */
import { readMark } from '../../src/core/volume/volume.ts';
import type { Deed } from './deed.ts';
import { LV_NAMES } from './deed.ts';
import type { Opener } from './group.ts';
import { EXTENT_BYTES } from './group.ts';

export const makeForeign: Deed = (run, random) => {
  const lv = random.pick([...LV_NAMES, 'backup']);
  const tags = random.chance(0.3) ? ['of-somebody'] : [];
  const volume = run.group.make(lv, EXTENT_BYTES * random.between(1, 5), tags);
  if (volume === undefined) return;
  const book = run.group.bookOf(volume);
  const kind = random.pick(['blank', 'blank', 'data', 'signed'] as const);
  if (kind === 'data') book.disk.write(Buffer.alloc(512, 0x77), 1024);
  if (kind === 'signed') book.disk.sign();
  book.disk.sync();
  if (random.chance(0.5)) run.libvirt.refreshPool();
  run.say(`somebody makes ${lv}, ${kind}`);
};

/** Somebody opens a volume that is not ours by its name, writes to it or not, and closes it some time later. */
export const openForeign: Deed = async (run, random) => {
  const foreign = run.group.model.volumes.filter(
    ({ tags, active }) => active && readMark(tags).state === 'unmarked',
  );
  if (foreign.length === 0) return;
  const volume = random.pick(foreign);
  const { disk, openers } = run.group.bookOf(volume);
  const opener: Opener = { what: 'somebody' };
  openers.add(opener);
  run.say(`somebody opens ${volume.lv}`);
  await run.sleep(random.skewed(5_000));
  if (random.chance(0.3)) disk.write(Buffer.alloc(512, 0x78), 0);
  await run.sleep(random.skewed(60_000));
  openers.delete(opener);
};

/** virsh vol-delete, of whatever has a name that people see. */
export const deleteVolume: Deed = (run, random) => {
  const visible = run.group.model.volumes.filter(({ lv }) => LV_NAMES.includes(lv));
  if (visible.length === 0 || run.libvirt.isAway) return;
  const volume = random.pick(visible);
  if (run.group.isOpen(volume)) return;
  run.say(`somebody deletes ${volume.lv} [${readMark(volume.tags).state}]`);
  run.judge.beforeLoss(volume.lv, run.ledger.of(run.daemon.life));
  run.group.remove(volume.lv, 'somebody');
  run.libvirt.refreshPool();
};

export const letGuestsWrite: Deed = (run) => {
  if (run.libvirt.writeFromGuests() > 0) run.say('guests write');
};

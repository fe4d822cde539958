/** Deeds about golden volumes and the thin pool, of the host's operator and of others. */
import { ProvisionError } from '../../src/core/errors.ts';
import { goldenName, readMark } from '../../src/core/volume/volume.ts';
import type { ModelVolume } from '../helper/memory-lvm.ts';
import type { Deed } from './deed.ts';
import type { Random } from './random.ts';
import type { Simulation } from './simulation.ts';
import { Violation } from './violation.ts';

function anyGolden(run: Simulation, random: Random): ModelVolume | undefined {
  const goldens = run.group.model.volumes.filter(({ tags }) => readMark(tags).state === 'golden');
  return goldens.length === 0 ? undefined : random.pick(goldens);
}

/** lvp image rm, or the budget: at any moment, also while it is being cloned. */
export const evictGolden: Deed = async (run, random) => {
  const volume = anyGolden(run, random);
  const { daemon } = run;
  if (volume === undefined || !daemon.life.isAlive) return;
  run.say(`${volume.lv} is wanted no more`);
  run.group.unwanted.add(volume.uuid);
  await ignoringProblems(async () => {
    const golden = (await daemon.goldens.list()).find(({ uuid }) => uuid === volume.uuid);
    if (golden !== undefined) await daemon.goldens.drop(golden);
  });
};

/** The configuration wants an image here, or does not any more. */
export const pinGolden: Deed = (run, random) => {
  const volume = anyGolden(run, random);
  const seal = volume && readMark(volume.tags);
  if (seal?.state !== 'golden') return;
  const { pinned } = run.group;
  if (pinned.has(seal.sha256)) pinned.delete(seal.sha256);
  else pinned.add(seal.sha256);
  run.say(
    `the image of ${goldenName(seal.fillId)} is ${pinned.has(seal.sha256) ? 'pinned' : 'not pinned any more'}`,
  );
};

/** lvp image gc, and a moment later what it was all about is gone. */
export const retireGoldens: Deed = async (run) => {
  const { daemon } = run;
  if (!run.isThin || !daemon.life.isAlive) return;
  run.say('lvp image gc');
  await ignoringProblems(async () => {
    for (const { lv } of await daemon.goldens.retire()) run.say(`  ${lv} was beyond the budget`);
  });
};

export const checkGolden: Deed = async (run, random) => {
  const volume = anyGolden(run, random);
  const { daemon } = run;
  if (volume === undefined || !daemon.life.isAlive) return;
  const book = run.group.bookOf(volume);
  run.say(`${volume.lv} is checked`);
  await ignoringProblems(async () => {
    const golden = (await daemon.goldens.list()).find(({ uuid }) => uuid === volume.uuid);
    if (golden?.unfit !== undefined || golden === undefined) return;
    const wasSpoilt = book.isSpoilt;
    const result = await daemon.goldens.check(golden, new AbortController().signal);
    run.say(`  ${volume.lv}: ${result === 'sound' ? result : result.code}`);
    const isSaidSound = result === 'sound';
    if (isSaidSound ? wasSpoilt : !book.isSpoilt)
      throw new Violation(
        'golden-untouched',
        `${volume.lv} is said to be ${isSaidSound ? 'sound' : 'damaged'}`,
      );
  });
};

/** Somebody activates it, writes to it and closes it, and puts everything back. */
export const damageGolden: Deed = (run, random) => {
  const volume = anyGolden(run, random);
  if (volume === undefined) return;
  run.say(`somebody writes to ${volume.lv}`);
  const book = run.group.bookOf(volume);
  book.isSpoilt = true;
  book.disk.write(Buffer.alloc(512, 0x79), 512 * random.between(0, 7));
  book.disk.sync();
};

export const openGoldenUp: Deed = (run, random) => {
  const volume = anyGolden(run, random);
  if (volume === undefined) return;
  run.say(`somebody makes ${volume.lv} writable`);
  volume.writable = true;
  run.group.openedUpAtMs.set(volume.uuid, run.agenda.nowMs);
};

export const removeGolden: Deed = (run, random) => {
  const volume = anyGolden(run, random);
  if (volume === undefined || run.group.isOpen(volume)) return;
  run.say(`somebody removes ${volume.lv}`);
  run.group.remove(volume.lv, 'somebody');
};

export const fillThinPool: Deed = async (run, random) => {
  const fault = random.pick(['data', 'metadata'] as const);
  run.group.thinFault = fault;
  run.say(`the ${fault} of the thin pool is full`);
  await run.sleep(random.skewed(600_000));
  run.group.thinFault = undefined;
};

async function ignoringProblems(work: () => Promise<void>): Promise<void> {
  await work().catch((error: unknown) => {
    if (!(error instanceof ProvisionError)) throw error;
  });
}

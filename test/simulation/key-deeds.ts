/** Deeds of whoever keeps keys, and of those who have one replaced or a volume erased. */
import { ProvisionError } from '../../src/core/errors.ts';
import type { Deed } from './deed.ts';
import { keyNameOf } from './deed.ts';
import { define } from './domain-deeds.ts';
import type { DiskSpec, DomainSpec } from './domains.ts';
import { VG } from './domains.ts';
import type { Random } from './random.ts';
import type { Simulation } from './simulation.ts';

/** Where a rotation has an effect, and where it has just had one. */
const ROTATION_STEPS = {
  daemon: [
    ...['helper checkLuks', 'helper addLuksKey', 'helper addLuksKey answered', 'libvirt write annotation'],
    ...['libvirt write annotation', 'libvirt write annotation answered', 'libvirt read', 'key read'],
    'helper keepOnlyLuksKey',
    'helper keepOnlyLuksKey answered',
  ],
  helper: [
    ...['before luksAddKey', 'in luksAddKey', 'after luksAddKey', 'luks opens', 'luks header'],
    ...['before luksKillSlot', 'in luksKillSlot', 'after luksKillSlot'],
  ],
};
const ERASURE_STEPS = {
  daemon: ['helper eraseLuks', 'helper eraseLuks answered', 'helper list'],
  helper: ['before luksErase', 'in luksErase', 'after luksErase', 'luks header'],
};

/** Somebody dies in the middle of what begins now; or, if it does not come to that, of something else. */
function cutOff({ crashes }: Simulation, random: Random, steps: typeof ROTATION_STEPS): void {
  const whose = random.pick(['daemon', 'helper'] as const);
  const [count, at] = [random.between(1, 2), random.pick(steps[whose])] as const;
  const how = random.next();
  if (how < 0.5) crashes.cutPowerAtStep(whose, count, at);
  else if (how < 0.65)
    crashes.killDaemonAtWrite(random.between(1, 4), random.pick(['before', 'after'] as const));
  else if (whose === 'daemon') crashes.killDaemonAtStep(count, at);
  else crashes.killHelperAtStep(count, at);
}

/** The grant of a key goes, and comes back some time later. */
export const withdrawGrant: Deed = async (run, random) => {
  const key = anyKey(run, random);
  if (run.keys === undefined || key === undefined) return;
  run.say(`this host may not read ${key} any more`);
  run.keys.refuse(key, random.pick(['KEY_DENIED', 'KEY_NOT_FOUND'] as const));
  await run.sleep(random.skewed(900_000));
  run.say(`this host may read ${key} again`);
  run.keys.grant(key);
};

/** Nobody hears of it: no answer, and no error. */
export const silenceServer: Deed = async (run, random) => {
  const { keys } = run;
  if (keys === undefined || keys.isSilent) return;
  run.say('the key server says nothing');
  keys.isSilent = true;
  await run.sleep(random.skewed(600_000));
  run.say('the key server answers');
  keys.isSilent = false;
};

/** Another key comes under the same name, for a while. */
export const exchangeKey: Deed = async (run, random) => {
  const key = anyKey(run, random);
  if (run.keys === undefined || key === undefined) return;
  run.say(`${key} is another key`);
  run.keys.replace(key);
  await run.sleep(random.skewed(900_000));
  run.say(`${key} is what it was`);
  run.keys.restore(key);
};

/** More than a fill takes on a good day. */
const FILLED_WITHIN_MS = 45_000;
/** What was let start as long ago runs, or has failed. */
const STARTED_WITHIN_MS = 31_000;

/** The guest is stopped for it most of the time; where nothing is encrypted yet, something is going to be. */
export const rotateKey: Deed = async (run, random) => {
  if (anyEncrypted(run, random) === undefined) {
    await define(run, random);
    await run.sleep(FILLED_WITHIN_MS);
  }
  const found = anyEncrypted(run, random);
  if (found === undefined) return;
  const { spec, disk } = found;
  run.say(`${spec.name} is to get another key for ${disk.target}`);
  if (random.chance(0.85)) run.libvirt.stop(spec.uuid, 'ended');
  if (random.chance(0.9)) await run.sleep(STARTED_WITHIN_MS);
  const { daemon } = run;
  if (!daemon.life.isAlive || hasEnded(run)) return;
  const to = keyNameOf(spec.name, disk.target, random);
  run.say(`lvp key rotate ${spec.name} ${disk.target} --to ${to}`);
  run.keys?.create(to);
  if (random.chance(0.5)) cutOff(run, random, ROTATION_STEPS);
  await attempt(run, daemon.keys.rotate({ domain: spec.name, target: disk.target, to }));
  if (random.chance(0.6)) return;
  // Not all of what was said to be done may be on the disk.
  await run.sleep(random.skewed(10_000));
  if (!hasEnded(run)) run.crashes.cutPower();
};

export const cryptoErase: Deed = async (run, random) => {
  const found = anyEncrypted(run, random);
  if (found === undefined || !run.daemon.life.isAlive) return;
  const { spec, disk } = found;
  run.libvirt.stop(spec.uuid, 'ended');
  const volume = run.group.model.find(disk.lv);
  if (volume === undefined) return;
  const name = `${VG}/${disk.lv}`;
  run.say(`lvp incident crypto-erase ${name}`);
  run.keyJudge?.doomed.add(volume.uuid);
  if (random.chance(0.5)) cutOff(run, random, ERASURE_STEPS);
  await attempt(run, run.daemon.keys.erase({ volume: name, confirm: name }), () => {
    run.say(`  ${name} is erased`);
    run.keyJudge?.onErased(volume);
  });
};

/** Nobody does anything on purpose any more, and nothing goes wrong. */
function hasEnded({ faults }: Simulation): boolean {
  return faults.isOver;
}

interface Encrypted {
  readonly spec: DomainSpec;
  readonly disk: DiskSpec;
}

function anyEncrypted(run: Simulation, random: Random): Encrypted | undefined {
  const all = [...run.libvirt.domains.values()].flatMap(({ spec }) =>
    spec.disks.filter(({ key }) => key !== undefined).map((disk) => ({ spec, disk })),
  );
  // Of those that are published, if there are any, for there is more to lose.
  const published = all.filter(({ spec, disk }) => run.judge.isSealedFor(spec.uuid, disk));
  const chosen = random.chance(0.9) ? published : all;
  return chosen.length === 0 ? undefined : random.pick(chosen);
}

function anyKey(run: Simulation, random: Random): string | undefined {
  return anyEncrypted(run, random)?.disk.key;
}

/** What is refused, or fails for a reason that has a name, is no defect. */
async function attempt(run: Simulation, asked: Promise<unknown>, done: () => void = () => undefined) {
  try {
    await asked;
  } catch (error) {
    if (!(error instanceof ProvisionError) && !String(error).includes('SQLITE')) throw error;
    run.say(`  refused: ${error instanceof ProvisionError ? error.code : 'the ledger'}`);
    return;
  }
  done();
}

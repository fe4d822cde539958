/** Deeds of the host's operator, and of bad luck: verbs, services that go away, the store, kills and power cuts. */
import { ProvisionError } from '../../src/core/errors.ts';
import type { Deed } from './deed.ts';
import { anyDomain, IMAGE_NAMES, SLOTS } from './deed.ts';
import { uuidOf } from './domains.ts';
import type { Random } from './random.ts';
import type { Simulation } from './simulation.ts';
import { newImage } from './store.ts';

export const useVerb: Deed = async (run, random) => {
  const spec = anyDomain(run, random);
  if (spec === undefined || !run.daemon.life.isAlive) return;
  const verb = random.pick(['cancel', 'retry', 'retry', 'explain', 'domains'] as const);
  run.say(`lvp ${verb} ${spec.name}`);
  const { verbs } = run.daemon;
  const target = random.chance(0.3) ? 'vda' : undefined;
  const asked =
    verb === 'cancel' || verb === 'retry'
      ? verbs[verb](spec.name, target)
      : verb === 'explain'
        ? verbs.explain(spec.name)
        : verbs.domains();
  await asked.catch((error: unknown) => {
    if (!(error instanceof ProvisionError) && !String(error).includes('SQLITE')) throw error;
  });
};

/** The guest is stopped for it most of the time, and often the annotation asks for something else by then. */
export const reprovision: Deed = async (run, random) => {
  const spec = anyDomain(run, random);
  if (spec === undefined || !run.daemon.life.isAlive) return;
  if (random.chance(0.8)) run.libvirt.stop(spec.uuid, 'ended');
  const { target } = random.pick(spec.disks);
  run.say(`lvp reprovision ${spec.name} ${target}`);
  const asked = run.daemon.verbs.reprovision(spec.name, { target, confirm: `${spec.name}/${target}` });
  await asked.then(
    () => {
      run.say(`  ${spec.name} ${target} is being made again`);
    },
    (error: unknown) => {
      if (!(error instanceof ProvisionError) && !String(error).includes('SQLITE')) throw error;
    },
  );
};

export const togglePool: Deed = (run) => {
  if (run.libvirt.isAway) return;
  if (!run.libvirt.isPoolActive) run.libvirt.startPool();
  else if (!run.libvirt.stopPool()) return;
  run.say(run.libvirt.isPoolActive ? 'pool started' : 'pool stopped');
};

/** Somebody else's refresh trips over an LV that vanishes. */
export const failRefresh: Deed = (run) => {
  if (run.libvirt.isAway || !run.libvirt.isPoolActive) return;
  run.say('a refresh by somebody fails, and the pool stops');
  run.libvirt.failRefresh();
};

/** Away for a while: what nobody can reach for the rest of a run keeps the rest from happening. */
export const toggleLibvirt: Deed = async (run, random) => {
  run.setLibvirtAway(!run.libvirt.isAway);
  await run.sleep(random.skewed(900_000));
  run.setLibvirtAway(false);
};

export const toggleStore: Deed = async (run, random) => {
  const { store } = run;
  if (random.chance(0.5)) store.isAway = !store.isAway;
  else store.chunkMs = random.skewed(random.pick([20_000, 400_000]));
  run.say(`store ${store.isAway ? 'away' : `there, ${store.chunkMs} ms a chunk`}`);
  await run.sleep(random.skewed(900_000));
  if (!store.isAway && store.chunkMs === 0) return;
  store.isAway = false;
  store.chunkMs = 0;
  run.say('store there, and fast');
};

export const replaceImage: Deed = (run, random) => {
  const name = random.pick(IMAGE_NAMES);
  const sidecar = random.chance(0.6);
  run.store.put(name, newImage(random), { sidecar });
  run.say(`${name} replaced, its digest ${sidecar ? 'too' : 'not'}`);
};

export const replaceDigest: Deed = (run, random) => {
  const name = random.pick(IMAGE_NAMES);
  run.store.putSidecar(name);
  run.say(`digest of ${name} put right`);
};

export const changeSpace: Deed = async (run, random) => {
  run.group.extents = random.pick([2, 6, 12, 64]);
  run.say(`the group has room for ${run.group.extents} extents`);
  await run.sleep(random.skewed(900_000));
  run.group.extents = Math.max(64, run.group.extents);
};

/** Where a daemon is worth killing; most of its time it only looks. */
const DAEMON_STEPS = [
  ...['', 'device', 'device sync', 'device close', 'journal', 'journal read', 'store', 'store stat'],
  ...['helper create', 'helper adopt', 'helper publish', 'helper examine'],
  ...['libvirt refresh', 'libvirt delete', 'libvirt read'],
];
/** What few lives of a daemon come to, and then once: at the call, or when it is answered. */
const RARE_DAEMON_STEPS = [
  ...['helper claim', 'helper discard', 'helper retire', 'helper restore'],
  ...['libvirt every XML', 'libvirt start'],
];
const HELPER_STEPS = [
  ...['', 'before ', 'after ', 'before create', 'after create', 'before swapTags', 'after swapTags'],
  ...['before rename', 'after rename', 'before takeBack', 'after takeBack', 'before remove', 'after remove'],
  ...['before activate', 'after activate', 'udevadm', 'the node', 'after giveToService', 'blkid', 'a pause'],
];

/** The same in runs with a thin pool. */
const THIN_DAEMON_STEPS = [
  'helper clone',
  'helper clone answered',
  'helper drop',
  'helper create',
  'device read',
];
const THIN_HELPER_STEPS = [
  ...['before extend', 'after extend', 'before deactivate', 'after deactivate', 'before makeReadOnly'],
  ...['after makeReadOnly', 'before swapTags', 'before rename', 'before remove'],
];

/** The same in runs with encrypted volumes. */
const KEY_DAEMON_STEPS = [
  ...['helper formatLuks', 'helper openLuks', 'helper closeLuks', 'helper checkLuks', 'helper addLuksKey'],
  ...['helper keepOnlyLuksKey', 'helper eraseLuks', 'key read', 'key read answered'],
  ...['helper addLuksKey answered', 'helper keepOnlyLuksKey answered', 'helper eraseLuks answered'],
  ...['libvirt write annotation', 'libvirt set secret', 'libvirt set secret answered'],
  ...['libvirt set secret answered', 'libvirt unset secret', 'libvirt list secrets'],
];
const KEY_HELPER_STEPS = [
  ...['before luks', 'in luks', 'after luks', 'luks header', 'luks opens', 'luks mapping'],
  ...['before luksFormat', 'in luksFormat', 'after luksFormat', 'before luksOpen', 'after luksOpen'],
  ...['before luksClose', 'after luksClose', 'before luksAddKey', 'in luksAddKey', 'after luksAddKey'],
  ...['before luksKillSlot', 'in luksKillSlot', 'after luksKillSlot', 'before luksErase', 'in luksErase'],
  ...['after luksErase', 'a node is kept', 'a node is kept no longer'],
];

function daemonStep({ isThin, keys }: Simulation, random: Random): [number, string] {
  if (keys !== undefined && random.chance(0.5)) return [random.between(1, 2), random.pick(KEY_DAEMON_STEPS)];
  if (isThin && random.chance(0.4)) return [random.between(1, 2), random.pick(THIN_DAEMON_STEPS)];
  if (random.chance(0.4)) return [random.between(1, 2), random.pick(RARE_DAEMON_STEPS)];
  const at = random.pick(DAEMON_STEPS);
  return [random.between(1, at === '' ? 80 : 6), at];
}

function helperStep({ isThin, keys }: Simulation, random: Random): [number, string] {
  if (keys !== undefined && random.chance(0.5)) return [random.between(1, 2), random.pick(KEY_HELPER_STEPS)];
  if (isThin && random.chance(0.4)) return [random.between(1, 2), random.pick(THIN_HELPER_STEPS)];
  const at = random.pick(HELPER_STEPS);
  return [random.between(1, at === '' ? 25 : 3), at];
}

export const killDaemon: Deed = (run, random) => {
  const { crashes } = run;
  const how = random.next();
  if (how < 0.3) crashes.killDaemonAtWrite(random.between(1, 4), random.pick(['before', 'after'] as const));
  else if (how < 0.75) crashes.killDaemonAtStep(...daemonStep(run, random));
  else crashes.killDaemon(random.chance(0.1) ? random.pick(['ledger lost', 'journals lost'] as const) : '');
};

export const killHelper: Deed = (run, random) => {
  const { crashes } = run;
  if (random.chance(0.8)) crashes.killHelperAtStep(...helperStep(run, random));
  else crashes.killHelper();
};

export const cutPower: Deed = (run, random) => {
  const { crashes } = run;
  const how = random.next();
  if (how < 0.45) crashes.cutPowerAtStep('daemon', ...daemonStep(run, random));
  else if (how < 0.8) crashes.cutPowerAtStep('helper', ...helperStep(run, random));
  else crashes.cutPower();
};

export const spoof: Deed = (run, random) => {
  const uuid = random.chance(0.2) ? uuidOf(9) : uuidOf(random.between(1, SLOTS));
  const event = random.pick([
    { kind: 'domain', uuid },
    { kind: 'domain', uuid },
    { kind: 'pool' },
    { kind: 'connected' },
  ] as const);
  run.say(`an event without reason: ${event.kind}`);
  run.daemon.onEvent(event);
};

export const passTime: Deed = (run, random) => {
  run.say('time passes');
  return run.sleep(random.skewed(3_600_000));
};

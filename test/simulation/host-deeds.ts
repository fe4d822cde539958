/** Deeds of the host's operator, and of bad luck: verbs, services that go away, the store, kills and power cuts. */
import { ProvisionError } from '../../src/core/errors.ts';
import type { Deed } from './deed.ts';
import { anyDomain, IMAGE_NAMES, SLOTS } from './deed.ts';
import { uuidOf } from './domains.ts';
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

export const toggleLibvirt: Deed = (run) => {
  run.setLibvirtAway(!run.libvirt.isAway);
};

export const toggleStore: Deed = (run, random) => {
  if (random.chance(0.5)) run.store.isAway = !run.store.isAway;
  else run.store.chunkMs = random.skewed(random.pick([20_000, 400_000]));
  run.say(`store ${run.store.isAway ? 'away' : `there, ${run.store.chunkMs} ms a chunk`}`);
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

export const changeSpace: Deed = (run, random) => {
  run.group.extents = random.pick([2, 6, 12, 64]);
  run.say(`the group has room for ${run.group.extents} extents`);
};

export const killDaemon: Deed = (run, random) => {
  if (random.chance(0.4))
    run.killDaemonAtWrite(random.between(1, 4), random.pick(['before', 'after'] as const));
  else run.killDaemon(random.pick(['ledger lost', 'journals lost', '', '', '', '', '', '', '', '']));
};

export const killHelper: Deed = (run) => {
  run.say('helper killed');
  run.helper.kill();
};

export const cutPower: Deed = (run) => {
  run.cutPower();
};

export const spoof: Deed = (run, random) => {
  const uuid = random.chance(0.2) ? uuidOf(9) : uuidOf(random.between(1, SLOTS));
  const event = random.pick([
    { kind: 'domain', uuid },
    { kind: 'domain', uuid },
    { kind: 'pool' },
    { kind: 'connected' },
  ] as const);
  run.daemon.onEvent(event);
};

export const passTime: Deed = (run, random) => run.sleep(random.skewed(3_600_000));

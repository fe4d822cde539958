/** What people, tools and bad luck do to a host. Each deed is one step of a run, and most depend on what is there. */
import { readMark } from '../../src/core/volume.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import type { DiskSpec, DomainSpec } from './domains.ts';
import { uuidOf } from './domains.ts';
import { EXTENT_BYTES } from './group.ts';
import type { Opener } from './group.ts';
import type { Random } from './random.ts';
import type { Simulation } from './simulation.ts';
import { sha256Of } from './store.ts';

export type Deed = (run: Simulation, random: Random) => void | Promise<void>;

const SLOTS = 3;
const LV_NAMES = ['vm1', 'vm2', 'vm3', 'data'];
export const IMAGE_NAMES = ['images/a.raw', 'images/b.raw'];

/** The content of an image: no two are alike, and a size need not be one of a volume. */
export function newImage(random: Random): Buffer {
  const bytes = Buffer.alloc(512 * random.between(1, 60) + (random.chance(0.3) ? random.between(1, 511) : 0));
  for (let at = 0; at < bytes.length; at += 64)
    bytes.writeUInt32LE(random.between(1, 2 ** 31), at & ~3 & (bytes.length - 4));
  bytes[0] = 0x42;
  return bytes;
}

function newDisk(run: Simulation, random: Random, target: string, lv: string): DiskSpec {
  const image = random.pick(IMAGE_NAMES);
  const digest = random.chance(0.8) ? run.store.digestOf(image) : sha256Of(Buffer.from('wrong'));
  return {
    ...{ target, lv, image, generation: random.chance(0.85) ? 1 : 2 },
    sizeBytes: random.chance(0.5) ? 512 * random.between(8, 160) : undefined,
    sha256: random.chance(0.3) ? digest : undefined,
  };
}

function newSpec(run: Simulation, random: Random, slot: number): DomainSpec {
  const own = LV_NAMES[slot - 1] ?? 'data';
  const disks = [newDisk(run, random, 'vda', random.chance(0.85) ? own : random.pick(LV_NAMES))];
  const first = disks[0]?.lv;
  if (random.chance(0.25) && first !== 'data') disks.push(newDisk(run, random, 'vdb', 'data'));
  return {
    ...{ uuid: uuidOf(slot), name: `vm${slot}`, disks },
    start: random.chance(0.25) ? 'when-ready' : 'manual',
    annotation: random.chance(0.92) ? 'good' : random.pick(['broken', 'none'] as const),
  };
}

function anyDomain(run: Simulation, random: Random): DomainSpec | undefined {
  const all = [...run.libvirt.domains.values()];
  return all.length === 0 ? undefined : random.pick(all).spec;
}

const define: Deed = (run, random) => {
  if (run.libvirt.isAway) return;
  const spec = newSpec(run, random, random.between(1, SLOTS));
  run.say(`define ${describe(spec)}`);
  run.libvirt.define(spec, random.chance(0.2));
};

/** One thing of a definition changes; most of the time that is the annotation of one disk. */
const redefine: Deed = (run, random) => {
  const spec = anyDomain(run, random);
  if (spec === undefined || run.libvirt.isAway) return;
  const [first, ...others] = spec.disks;
  if (first === undefined) return;
  const fresh = newDisk(run, random, first.target, first.lv);
  const change = random.pick(['image', 'sizeBytes', 'generation', 'sha256'] as const);
  const changed: DomainSpec = {
    ...spec,
    disks: [
      { ...first, [change]: change === 'generation' ? first.generation + 1 : fresh[change] },
      ...others,
    ],
    annotation: random.chance(0.85) ? 'good' : random.pick(['broken', 'none'] as const),
  };
  run.say(`redefine ${describe(changed)}`);
  run.libvirt.define(changed, false);
};

const undefine: Deed = (run, random) => {
  const spec = anyDomain(run, random);
  if (spec === undefined || run.libvirt.isAway) return;
  run.say(`undefine ${spec.name}`);
  run.libvirt.undefine(spec.uuid);
};

const start: Deed = async (run, random) => {
  const spec = anyDomain(run, random);
  if (spec === undefined) return;
  run.say(`start ${spec.name}`);
  await run.libvirt.start(spec);
};

const stop: Deed = (run, random) => {
  const spec = anyDomain(run, random);
  if (spec === undefined) return;
  run.say(`stop ${spec.name}`);
  run.libvirt.stop(spec.uuid);
};

/** virt-install: volumes first, then a transient start, and only then a definition; and again if it is refused. */
const install: Deed = async (run, random) => {
  const slot = random.between(1, SLOTS);
  let spec: DomainSpec = { ...newSpec(run, random, slot), annotation: 'good' };
  for (let tries = 1; tries <= random.between(1, 3); tries++) {
    if (run.libvirt.domains.has(spec.uuid) || run.libvirt.isAway) return;
    run.say(`install ${describe(spec)}`);
    const made = spec.disks.flatMap(({ lv, sizeBytes }) => {
      const volume = run.group.make(lv, Math.ceil((sizeBytes ?? 65_536) / EXTENT_BYTES) * EXTENT_BYTES);
      return volume === undefined ? [] : [{ lv, uuid: volume.uuid }];
    });
    run.libvirt.refreshPool();
    if ((await run.libvirt.start(spec)) === undefined) {
      if (random.chance(0.8)) run.libvirt.define(spec, false);
      return;
    }
    for (const { lv, uuid } of made) {
      const volume = run.group.model.find(lv);
      if (volume?.uuid === uuid && !run.group.isOpen(volume)) run.group.remove(lv, 'somebody');
    }
    await run.sleep(random.skewed(60_000));
    // It invents another UUID at every try, unless it is told not to.
    if (random.chance(0.2)) spec = { ...spec, uuid: uuidOf(slot + SLOTS), name: `vm${slot + SLOTS}` };
  }
};

const arrive: Deed = async (run, random) => {
  const spec = anyDomain(run, random) ?? newSpec(run, random, random.between(1, SLOTS));
  const operation = random.pick(['migrate', 'restore'] as const);
  run.say(`${operation} begin ${describe(spec)}`);
  const { allowed } = await run.askHook(operation, spec);
  if (allowed) await run.libvirt.start(spec);
};

const makeForeign: Deed = (run, random) => {
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
const openForeign: Deed = async (run, random) => {
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
const deleteVolume: Deed = (run, random) => {
  const visible = run.group.model.volumes.filter(({ lv }) => LV_NAMES.includes(lv));
  if (visible.length === 0 || run.libvirt.isAway) return;
  const volume = random.pick(visible);
  if (run.group.isOpen(volume)) return;
  run.say(`somebody deletes ${volume.lv} [${readMark(volume.tags).state}]`);
  run.group.remove(volume.lv, 'somebody');
  run.libvirt.refreshPool();
};

const useVerb: Deed = async (run, random) => {
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

const togglePool: Deed = (run) => {
  if (run.libvirt.isAway) return;
  if (!run.libvirt.isPoolActive) run.libvirt.startPool();
  else if (!run.libvirt.stopPool()) return;
  run.say(run.libvirt.isPoolActive ? 'pool started' : 'pool stopped');
};

/** Somebody else's refresh trips over an LV that vanishes. */
const failRefresh: Deed = (run) => {
  if (run.libvirt.isAway || !run.libvirt.isPoolActive) return;
  run.say('a refresh by somebody fails, and the pool stops');
  run.libvirt.failRefresh();
};

const toggleLibvirt: Deed = (run) => {
  run.setLibvirtAway(!run.libvirt.isAway);
};

const toggleStore: Deed = (run, random) => {
  if (random.chance(0.5)) run.store.isAway = !run.store.isAway;
  else run.store.chunkMs = random.skewed(random.pick([20_000, 400_000]));
  run.say(`store ${run.store.isAway ? 'away' : `there, ${run.store.chunkMs} ms a chunk`}`);
};

const replaceImage: Deed = (run, random) => {
  const name = random.pick(IMAGE_NAMES);
  const sidecar = random.chance(0.6);
  run.store.put(name, newImage(random), { sidecar });
  run.say(`${name} replaced, its digest ${sidecar ? 'too' : 'not'}`);
};

const replaceDigest: Deed = (run, random) => {
  const name = random.pick(IMAGE_NAMES);
  run.store.putSidecar(name);
  run.say(`digest of ${name} put right`);
};

const changeSpace: Deed = (run, random) => {
  run.group.extents = random.pick([2, 6, 12, 64]);
  run.say(`the group has room for ${run.group.extents} extents`);
};

const killDaemon: Deed = (run, random) => {
  if (random.chance(0.4))
    run.killDaemonAtWrite(random.between(1, 4), random.pick(['before', 'after'] as const));
  else run.killDaemon(random.pick(['ledger lost', 'journals lost', '', '', '', '', '', '', '', '']));
};

const killHelper: Deed = (run) => {
  run.say('helper killed');
  run.helper.kill();
};

const cutPower: Deed = (run) => {
  run.cutPower();
};

const spoof: Deed = (run, random) => {
  const uuid = random.chance(0.2) ? uuidOf(9) : uuidOf(random.between(1, SLOTS));
  const event = random.pick([
    { kind: 'domain', uuid },
    { kind: 'domain', uuid },
    { kind: 'pool' },
    { kind: 'connected' },
  ] as const);
  run.daemon.onEvent(event);
};

const letGuestsWrite: Deed = (run) => {
  run.libvirt.writeFromGuests();
};

const passTime: Deed = (run, random) => run.sleep(random.skewed(3_600_000));

/** Each as often as it stands here. */
export const DEEDS: readonly Deed[] = [
  ...[define, define, define, define, redefine, redefine, redefine, undefine, undefine],
  ...[start, start, start, start, stop, stop, install, install, arrive],
  ...[makeForeign, makeForeign, openForeign, deleteVolume, deleteVolume, useVerb, useVerb],
  ...[
    togglePool,
    failRefresh,
    toggleLibvirt,
    toggleStore,
    toggleStore,
    replaceImage,
    replaceDigest,
    changeSpace,
  ],
  ...[killDaemon, killDaemon, killDaemon, killHelper, killHelper, cutPower, spoof],
  ...[letGuestsWrite, letGuestsWrite, passTime],
];

function describe({ name, disks, annotation, start }: DomainSpec): string {
  const parts = disks.map(({ target, lv, image, sizeBytes, sha256, generation }) =>
    [
      `${target}=${lv}<${image}`,
      `g${generation}`,
      sizeBytes === undefined ? '' : `${sizeBytes} B`,
      sha256 === undefined ? '' : `sha256 ${sha256.slice(0, 8)}`,
    ].join(' '),
  );
  return `${name} ${parts.join(', ')} ${annotation === 'good' ? start : annotation}`;
}

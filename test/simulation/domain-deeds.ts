/** Deeds of whoever owns the domains: definitions, starts, installations, arrivals. */
import type { Deed } from './deed.ts';
import { anyDomain, IMAGE_NAMES, keyNameOf, LV_NAMES, SLOTS } from './deed.ts';
import type { DiskSpec, DomainSpec } from './domains.ts';
import { uuidOf } from './domains.ts';
import { EXTENT_BYTES, LUKS_BYTES } from './group.ts';
import type { Random } from './random.ts';
import type { Simulation } from './simulation.ts';
import { sha256Of } from './store.ts';

export const define: Deed = (run, random) => {
  if (run.libvirt.isAway) return;
  const spec = newSpec(run, random, random.between(1, SLOTS));
  if (run.libvirt.isNameTaken(spec)) return;
  run.say(`define ${describe(spec)}`);
  run.libvirt.define(spec, random.chance(0.2));
};

/** One thing of a definition changes; most of the time that is the annotation of one disk. */
export const redefine: Deed = (run, random) => {
  const spec = anyDomain(run, random);
  if (spec === undefined || run.libvirt.isAway) return;
  const [first, ...others] = spec.disks;
  if (first === undefined) return;
  const fresh = newDisk(run, random, spec.name, first.target, first.lv);
  const changes = ['image', 'sizeBytes', 'generation', 'sha256', 'onUndefine', 'onUndefine'] as const;
  const change = random.pick(run.keys === undefined ? changes : ([...changes, 'key'] as const));
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

export const undefine: Deed = (run, random) => {
  const spec = anyDomain(run, random);
  if (spec === undefined || run.libvirt.isAway) return;
  run.say(`undefine ${spec.name}`);
  run.libvirt.undefine(spec.uuid);
};

export const start: Deed = async (run, random) => {
  const spec = anyDomain(run, random);
  if (spec === undefined) return;
  run.say(`start ${spec.name}`);
  await run.libvirt.start(spec);
};

export const stop: Deed = (run, random) => {
  const spec = anyDomain(run, random);
  if (spec === undefined) return;
  const how = random.pick(['ended', 'ended', 'ended', 'crashed', 'saved', 'migrated'] as const);
  run.say(`stop ${spec.name}: ${how}`);
  run.libvirt.stop(spec.uuid, how);
  // virsh migrate --undefinesource
  if (how === 'migrated' && random.chance(0.6)) run.libvirt.undefine(spec.uuid);
};

/** virsh managedsave: the guest goes on later with the memory it had, or that is given up, or nobody comes back to it. */
export const saveMemory: Deed = async (run, random) => {
  const { libvirt } = run;
  const isAway = () => libvirt.isAway;
  const saveable = () =>
    [...libvirt.domains.values()].filter(({ guest, persistent }) => guest !== undefined && persistent);
  const spec = anyDomain(run, random);
  if (saveable().length === 0 && spec !== undefined) {
    run.say(`start ${spec.name}, to save it`);
    await libvirt.start(spec);
  }
  const running = saveable();
  if (running.length === 0 || isAway()) return;
  const { uuid, name } = random.pick(running).spec;
  run.say(`managedsave ${name}`);
  libvirt.saveMemory(uuid);
  await run.sleep(random.skewed(600_000));
  const saved = libvirt.domains.get(uuid);
  if (saved?.memory === undefined || isAway() || random.chance(0.3)) return;
  const isToGoOn = random.chance(0.7);
  run.say(isToGoOn ? `start ${name}, which is saved` : `managedsave-remove ${name}`);
  if (isToGoOn) await libvirt.start(saved.spec);
  else libvirt.removeMemory(uuid);
};

/** Whoever replaces a definition undefines it first. */
export const replace: Deed = async (run, random) => {
  const spec = anyDomain(run, random);
  if (spec === undefined || run.libvirt.isAway) return;
  run.say(`undefine ${spec.name}, to define it anew`);
  run.libvirt.undefine(spec.uuid);
  await run.sleep(random.skewed(40_000));
  defineAnew(run, spec);
};

function defineAnew(run: Simulation, spec: DomainSpec): void {
  if (run.libvirt.isAway || run.libvirt.domains.has(spec.uuid)) return;
  run.say(`define ${describe(spec)}`);
  run.libvirt.define(spec, false);
}

/** virt-install: volumes first, then a transient start, and only then a definition; and again if it is refused. */
export const install: Deed = async (run, random) => {
  const slot = random.between(1, SLOTS);
  let spec: DomainSpec = { ...newSpec(run, random, slot), annotation: 'good' };
  const triesMax = random.between(1, 4);
  for (let tries = 1; tries <= triesMax; tries++) {
    if (run.libvirt.domains.has(spec.uuid) || run.libvirt.isAway || run.libvirt.isNameTaken(spec)) return;
    run.say(`install ${describe(spec)}`);
    const made = spec.disks.flatMap(({ lv, key, sizeBytes = 65_536 }) => {
      const neededBytes = sizeBytes + (key === undefined ? 0 : LUKS_BYTES);
      const volume = run.group.make(lv, Math.ceil(neededBytes / EXTENT_BYTES) * EXTENT_BYTES);
      return volume === undefined ? [] : [{ lv, uuid: volume.uuid }];
    });
    run.libvirt.refreshPool();
    if ((await run.libvirt.start(spec)) === undefined) {
      if (random.chance(0.8) && !run.libvirt.isNameTaken(spec)) run.libvirt.define(spec, false);
      return;
    }
    for (const { lv, uuid } of made) {
      const volume = run.group.model.find(lv);
      if (volume?.uuid === uuid && !run.group.isOpen(volume)) run.group.remove(lv, 'somebody');
    }
    await run.sleep(random.between(0, 120_000));
    // It invents another UUID at every try, unless it is told not to.
    if (random.chance(0.7)) spec = { ...spec, uuid: uuidOf(slot + SLOTS * (tries % 3)) };
  }
};

export const arrive: Deed = async (run, random) => {
  const spec = anyDomain(run, random) ?? newSpec(run, random, random.between(1, SLOTS));
  const operation = random.pick(['migrate', 'restore'] as const);
  run.say(`${operation} begin ${describe(spec)}`);
  const { allowed } = await run.askHook(operation, spec);
  if (allowed) await run.libvirt.start(spec);
};

function newDisk(run: Simulation, random: Random, name: string, target: string, lv: string): DiskSpec {
  const image = random.pick(IMAGE_NAMES);
  const digest = random.chance(0.8) ? run.store.digestOf(image) : sha256Of(Buffer.from('wrong'));
  return {
    ...{ target, lv, image, generation: random.chance(0.85) ? 1 : 2 },
    // One name is always of a volume that libvirt lists.
    ...(run.isThin && lv !== 'vm3' ? { isBlock: true } : {}),
    sizeBytes: random.chance(0.5) ? 512 * random.between(8, 160) : undefined,
    sha256: random.chance(0.3) ? digest : undefined,
    onUndefine: random.pick(['keep', 'delete'] as const),
    afterMigration: random.chance(0.5) ? random.pick(['keep', 'delete'] as const) : undefined,
    ...(run.keys !== undefined && random.chance(0.6) ? { key: keyNameOf(name, target, random) } : {}),
  };
}

function newSpec(run: Simulation, random: Random, slot: number): DomainSpec {
  const own = LV_NAMES[slot - 1] ?? 'data';
  const name = `vm${slot}`;
  const disks = [newDisk(run, random, name, 'vda', random.chance(0.85) ? own : random.pick(LV_NAMES))];
  const first = disks[0]?.lv;
  if (random.chance(0.25) && first !== 'data') disks.push(newDisk(run, random, name, 'vdb', 'data'));
  return {
    ...{ uuid: uuidOf(slot), name, disks },
    start: random.chance(0.25) ? 'when-ready' : 'manual',
    annotation: random.chance(0.92) ? 'good' : random.pick(['broken', 'none'] as const),
  };
}

function describe({ name, disks, annotation, start }: DomainSpec): string {
  const parts = disks.map(
    ({ target, lv, image, key, sizeBytes, sha256, generation, onUndefine, afterMigration }) =>
      [
        `${target}=${lv}<${image}`,
        key ?? '',
        `g${generation}`,
        sizeBytes === undefined ? '' : `${sizeBytes} B`,
        sha256 === undefined ? '' : `sha256 ${sha256.slice(0, 8)}`,
        `${onUndefine ?? ''}/${afterMigration ?? ''}`,
      ].join(' '),
  );
  return `${name} ${parts.join(', ')} ${annotation === 'good' ? start : annotation}`;
}

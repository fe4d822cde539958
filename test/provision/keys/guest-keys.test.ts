/**
 * Goal: libvirt has the key of an encrypted disk from just before its guest starts until it has ended, only where the
 * key is the right one and granted to this host, and no longer than it is; a guest that runs is never touched.
 */
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Clock } from '../../../src/provision/ports/host.ts';
import type { AdmitAnswer, GateOperation } from '../../../src/provision/ports/verbs.ts';
import { admitStart } from '../../../src/provision/gate/admit-start.ts';
import { handOverKeys } from '../../../src/provision/keys/hand-over-keys.ts';
import { observe } from '../../../src/provision/observe.ts';
import { parseDomainXml } from '../../../src/core/xml/domain-xml.ts';
import { ProvisionError } from '../../../src/core/errors.ts';
import { wishMissedAutostarts } from '../../../src/provision/gate/start-wishes.ts';
import type { Seal } from '../../../src/core/volume/volume.ts';
import { sealTags } from '../../../src/core/volume/volume.ts';
import { domainXml, MIB, until, World } from '../world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const REFERENCE = 'file:vm1';
const KEY = 'a key of vm1, of which there must be 32 bytes';
const PATH = '/dev/vg0/vm1';
const vm1 = { uuid, name: 'vm1', key: REFERENCE };
/** As long as a start that was let through counts as under way. */
const ADMITTED_MS = 120_000;

let world: World;

beforeEach(async () => {
  world = new World();
  addSealed('vm1');
  world.keys.texts.set(REFERENCE, KEY);
  world.luks.texts.set('vm1', KEY);
  world.define(vm1);
  await until('ready', () => world.ledger.fillOf(uuid, 'vda')?.state === 'ready');
});

function addSealed(lv: string, how: Pick<Seal, 'encryption'> = { encryption: 'luks1' }): void {
  const seal = { fillId: '00112233445566aa', target: lv, domainUuid: uuid, image: 'images/small.raw' };
  const tags = sealTags({ ...seal, sha256: 'a'.repeat(64), generation: 1, ...how });
  world.volumes.add(lv, Buffer.alloc(8 * MIB, 0x11), tags);
}

function ask(operation: GateOperation = 'prepare', xml = domainXml(vm1)): Promise<AdmitAnswer> {
  return admitStart(world.admit, operation, xml);
}

function set(...paths: string[]): void {
  expect([...world.secrets.values.keys()].sort()).toEqual(paths);
}

function runs(active: boolean): void {
  const found = world.libvirt.domains.get(uuid);
  if (found !== undefined) world.libvirt.domains.set(uuid, { ...found, active });
  opened(active);
}

/** Whether somebody has its volume open, as the guest that runs on it does. */
function opened(isOpen: boolean): void {
  const volume = world.volumes.lvm.find('vm1');
  if (volume !== undefined) volume.openLooks = isOpen ? Infinity : 0;
}

/** It is let through and runs. */
async function start(): Promise<void> {
  expect(await ask()).toMatchObject({ allowed: true });
  runs(true);
  world.reconciler.heard(uuid, 'begun');
}

describe('a start', () => {
  it('is let through with its key handed over, which nobody keeps', async () => {
    expect(await ask()).toMatchObject({ allowed: true });
    expect(world.secrets.values.get(PATH)?.toString()).toBe(KEY);
    expect(world.keys.given).toHaveLength(1);
    expect(world.keys.areAllWiped()).toBe(true);
    expect(world.audit).toMatchObject([
      { what: 'key hand over', who: `domain:${uuid}`, volume: 'vg0/vm1', key: REFERENCE, outcome: 'done' },
    ]);
    expect(JSON.stringify(world.audit)).not.toContain(KEY);
  });

  it.each(['prepare', 'migrate', 'restore'] as const)('%s: reads the key each time', async (operation) => {
    if (operation === 'migrate') world.sharedGroups.add('vg0');
    expect(await ask(operation)).toMatchObject({ allowed: true });
    set(PATH);
    world.keys.grants.set(REFERENCE, 'KEY_DENIED');
    expect(await ask(operation)).toMatchObject({ allowed: false, problems: [{ code: 'KEY_DENIED' }] });
    await until('taken back', () => world.secrets.values.size === 0);
  });

  it.each(['KEY_DENIED', 'KEY_NOT_FOUND', 'KEY_SERVER_UNREACHABLE', 'KEY_UNUSABLE'] as const)(
    'is refused with what the key server says: %s',
    async (code) => {
      world.keys.grants.set(REFERENCE, code);
      const { allowed, problems } = await ask();
      expect(allowed).toBe(false);
      expect(problems).toMatchObject([
        { code, message: `Disk vda: ${REFERENCE}: ${code}`, hint: 'Have it granted.' },
      ]);
      set();
      expect(world.audit).toMatchObject([{ what: 'key hand over', key: REFERENCE, problem: { code } }]);
    },
  );

  it('is refused when the key opens another volume', async () => {
    world.keys.texts.set(REFERENCE, 'the key of another volume, with 32 bytes');
    expect(await ask()).toMatchObject({ allowed: false, problems: [{ code: 'KEY_WRONG' }] });
    set();
    expect(world.keys.areAllWiped()).toBe(true);
  });

  it('is refused in time when the key server hangs, and a key that comes later is wiped', async () => {
    world.keys.grants.set(REFERENCE, 'hangs');
    const answer = ask();
    await until('asked', () => world.keys.asked.length === 1);
    world.clock.advance(3_000);
    expect(await answer).toMatchObject({ allowed: false, problems: [{ code: 'KEY_SERVER_UNREACHABLE' }] });
    world.keys.letGo();
    await until('given', () => world.keys.given.length === 1 && world.keys.areAllWiped());
    set();
  });

  it('is refused in time when libvirt hangs, and nothing stays set; the next one is not disturbed by that', async () => {
    world.secrets.hold();
    const answer = ask();
    await until('read', () => world.keys.given.length === 1);
    world.clock.advance(3_000);
    expect(await answer).toMatchObject({ allowed: false, problems: [{ code: 'TIMEOUT' }] });
    const second = ask();
    await until('read again', () => world.keys.given.length === 2);
    world.secrets.letGo();
    expect(await second).toMatchObject({ allowed: true });
    expect(world.secrets.values.get(PATH)?.toString()).toBe(KEY);
    world.secrets.values.clear();
    world.secrets.hold();
    const third = ask();
    await until('read once more', () => world.keys.given.length === 3);
    world.clock.advance(3_000);
    await third;
    world.secrets.letGo();
    await until('all wiped', () => world.keys.areAllWiped());
    await world.guestKeys.stop();
    set();
  });

  it('that is refused because the helper hangs does not set anything later', async () => {
    const helper = Promise.withResolvers<undefined>();
    world.luks.held = helper.promise;
    const answer = ask();
    await until('read', () => world.keys.given.length === 1);
    world.clock.advance(3_000);
    expect(await answer).toMatchObject({ allowed: false, problems: [{ code: 'TIMEOUT' }] });
    helper.resolve(undefined);
    await until('wiped', () => world.keys.areAllWiped());
    expect(world.secrets.sets).toBe(0);
  });

  it('that is refused takes back nothing that a later one has set', async () => {
    world.keys.grants.set(REFERENCE, 'hangs');
    const first = ask();
    await until('asked', () => world.keys.asked.length === 1);
    world.keys.grants.delete(REFERENCE);
    expect(await ask()).toMatchObject({ allowed: true });
    world.clock.advance(3_000);
    expect(await first).toMatchObject({ allowed: false });
    await world.guestKeys.stop();
    set(PATH);
  });

  it('under way: libvirt is not asked about its domain, which it holds', async () => {
    await ask();
    const read = vi.spyOn(world.libvirt, 'read');
    world.guestKeys.heard(uuid, undefined);
    await world.guestKeys.look();
    expect(read).not.toHaveBeenCalled();
  });

  it('with two encrypted disks has both keys or none', async () => {
    addSealed('data');
    world.keys.texts.set('file:data', KEY);
    world.luks.texts.set('data', KEY);
    const xml = withSecondDisk();
    expect(await ask('prepare', xml)).toMatchObject({ allowed: true });
    set('/dev/vg0/data', PATH);
    world.keys.grants.set('file:data', 'KEY_DENIED');
    const { problems } = await ask('prepare', xml);
    expect(problems).toMatchObject([{ code: 'KEY_DENIED', message: 'Disk vdb: file:data: KEY_DENIED' }]);
    await until('taken back', () => world.secrets.values.size === 0);
  });

  it("is refused where somebody else's secret stands for the volume", async () => {
    world.secrets.others.add(PATH);
    expect(await ask()).toMatchObject({ allowed: false, problems: [{ code: 'VOLUME_STATE' }] });
  });

  it('is refused where seal and annotation differ on whether the volume is encrypted', async () => {
    const refused = { allowed: false, problems: [{ code: 'VOLUME_STATE' }] };
    expect(await ask('prepare', domainXml({ uuid, name: 'vm1' }))).toMatchObject(refused);
    world.volumes.remove('vm1');
    addSealed('vm1', {});
    expect(await ask()).toMatchObject(refused);
    expect(world.keys.asked).toEqual([]);
  });

  it('is refused for that also where a plan has not noticed', async () => {
    const planned = async (xml: string) => (await observe(world.admit, [])).plan(parseDomainXml(xml));
    const plain = await planned(domainXml({ uuid, name: 'vm1' }));
    const encrypted = await planned(domainXml(vm1));
    const { volumes } = await observe(world.admit, []);
    world.volumes.remove('vm1');
    addSealed('vm1', {});
    const { volumes: unencrypted } = await observe(world.admit, []);
    for (const [plan, found] of [
      [plain, volumes],
      [encrypted, unencrypted],
    ] as const) {
      expect(await handOverKeys(world.admit, plan, found, { limitMs: 1_000 })).toMatchObject([
        { code: 'VOLUME_STATE' },
      ]);
    }
    expect(await handOverKeys(world.admit, plain, unencrypted, { limitMs: 1_000 })).toEqual([]);
  });

  it('is refused without reading the key while libvirtd takes no clients', async () => {
    const admit = { ...world.admit, isLibvirtReachable: () => false };
    const { allowed, problems } = await admitStart(admit, 'prepare', domainXml(vm1));
    expect([allowed, problems[0]?.code]).toEqual([false, 'LIBVIRT_UNAVAILABLE']);
    expect(world.keys.asked).toEqual([]);
  });

  it('whose hook has gone on by itself meanwhile is not let through, and leaves no key behind', async () => {
    let leapMs = 0;
    const { nowMs, monotonicMs } = world.clock;
    const clock: Clock = {
      nowMs,
      sleep: (durationMs, signal) => world.clock.sleep(durationMs, signal),
      monotonicMs: () => monotonicMs() + leapMs,
    };
    world.secrets.hold();
    const answer = admitStart({ ...world.admit, clock }, 'prepare', domainXml(vm1));
    const rejected = expect(answer).rejects.toMatchObject({ code: 'TIMEOUT' });
    await until('read', () => world.keys.given.length === 1);
    leapMs = 60_000;
    world.secrets.letGo();
    await rejected;
    expect(world.reconciler.starting.has(uuid)).toBe(false);
    await until('taken back', () => world.secrets.sets === 1 && world.secrets.values.size === 0);
  });

  it('is refused where something was begun with its volume meanwhile', async () => {
    world.secrets.hold();
    const answer = ask();
    await until('read', () => world.keys.given.length === 1);
    world.frozen = { since: '', by: '', reason: '' };
    world.secrets.letGo();
    expect(await answer).toMatchObject({ allowed: false });
    await until('taken back', () => world.secrets.values.size === 0);
  });
});

function withSecondDisk(): string {
  return domainXml(vm1)
    .replace(
      '</vp:provision>',
      "<vp:volume target='vdb' image='images/small.raw' format='raw' key='file:data'/></vp:provision>",
    )
    .replace(
      '</devices>',
      `<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vg0/data'>
         <encryption format='luks'><secret type='passphrase' usage='/dev/vg0/data'/></encryption></source>
         <target dev='vdb' bus='virtio'/></disk></devices>`,
    );
}

describe('taking back', () => {
  it.each(['ended', 'migrated'] as const)('when the guest has %s', async (change) => {
    await start();
    runs(false);
    world.reconciler.heard(uuid, change);
    await until('taken back', () => world.secrets.values.size === 0);
    await until('written down', () => world.audit.some(({ what }) => what === 'key take back'));
  });

  it('when the domain is undefined', async () => {
    await start();
    world.libvirt.domains.delete(uuid);
    world.reconciler.heard(uuid, undefined);
    await until('taken back', () => world.secrets.values.size === 0);
  });

  it('not while the guest runs, whatever is heard of it', async () => {
    await start();
    for (const change of ['ended', 'migrated', 'defined', undefined] as const)
      world.reconciler.heard(uuid, change);
    await world.guestKeys.look();
    await world.guestKeys.stop();
    set(PATH);
  });

  it('not for a start under way, though the end of the run before is heard late; but when it came to nothing', async () => {
    await ask();
    world.reconciler.heard(uuid, 'ended');
    await world.guestKeys.look();
    set(PATH);
    world.clock.advance(ADMITTED_MS);
    await world.guestKeys.look();
    set();
  });

  it('not where it cannot be told whether the guest runs', async () => {
    await start();
    runs(false);
    world.libvirt.isAway = true;
    world.reconciler.heard(uuid, 'ended');
    await world.guestKeys.look();
    set(PATH);
    world.libvirt.isAway = false;
    await world.guestKeys.look();
    set();
  });

  it('after the end of the daemon: what no guest needs goes, once no start that it let through can be under way', async () => {
    await start();
    world.secrets.values.set('/dev/vg0/gone', Buffer.from(KEY));
    world.restart();
    runs(false);
    await world.guestKeys.look();
    set('/dev/vg0/gone', PATH);
    world.clock.advance(ADMITTED_MS);
    runs(true);
    await world.guestKeys.look();
    set(PATH);
    runs(false);
    await world.guestKeys.look();
    set();
  });
});

describe('a secret that somebody has defined anew', () => {
  it('is undefined and set again while its guest runs, and that is written down', async () => {
    await start();
    world.secrets.change(PATH);
    await world.guestKeys.look();
    expect([world.secrets.isChanged(PATH), world.secrets.values.get(PATH)?.toString()]).toEqual([false, KEY]);
    expect(world.audit.map(({ what, problem }) => [what, problem?.code])).toEqual([
      ['key hand over', undefined],
      ['key take back', 'VOLUME_STATE'],
      ['key hand over', undefined],
    ]);
    await world.guestKeys.look();
    expect(world.audit).toHaveLength(3);
  });

  it('is written down also by a daemon that has not handed it over itself', async () => {
    await start();
    world.restart();
    world.clock.advance(ADMITTED_MS);
    world.secrets.change(PATH);
    await world.guestKeys.look();
    expect(world.secrets.isChanged(PATH)).toBe(false);
    expect(world.audit).toContainEqual(
      expect.objectContaining({ what: 'key take back', domain: uuid, key: REFERENCE, outcome: 'done' }),
    );
  });

  it('is written down as that though its guest has ended by the time it is seen', async () => {
    await start();
    runs(false);
    world.secrets.change(PATH);
    await world.guestKeys.look();
    set();
    expect(world.audit.at(-1)).toMatchObject({ what: 'key take back', problem: { code: 'VOLUME_STATE' } });
  });

  it('goes with the end of its guest', async () => {
    await start();
    world.secrets.change(PATH);
    runs(false);
    world.reconciler.heard(uuid, 'ended');
    await until('taken back', () => world.secrets.values.size === 0 && !world.secrets.isChanged(PATH));
  });

  it('and one that libvirt had no more is not said to have been taken back', async () => {
    await start();
    world.secrets.values.clear();
    runs(false);
    world.reconciler.heard(uuid, 'ended');
    await until('written down', () => world.audit.some(({ what }) => what === 'key take back'));
    expect(world.audit.at(-1)?.problem?.message).toContain('libvirt had it no more');
  });
});

describe('libvirtd started anew', () => {
  it('has the keys of running guests again, and of no others', async () => {
    await start();
    world.secrets.values.clear();
    world.guestKeys.connected();
    await until('set again', () => world.secrets.values.has(PATH));
    expect(world.keys.areAllWiped()).toBe(true);
    runs(false);
    world.secrets.values.clear();
    world.guestKeys.connected();
    await world.guestKeys.stop();
    set();
  });

  it('has them again after the daemon was restarted as well, once no start that it let through can be under way', async () => {
    await start();
    world.restart();
    world.secrets.values.clear();
    world.guestKeys.connected();
    await world.guestKeys.look();
    set();
    world.clock.advance(ADMITTED_MS);
    await world.guestKeys.look();
    set(PATH);
    world.secrets.values.clear();
    await world.guestKeys.look();
    set();
  });

  it('has none for a guest on a plain volume, whatever its definition says by now, and none is read', async () => {
    world.volumes.remove('vm1');
    addSealed('vm1', {});
    runs(true);
    world.clock.advance(ADMITTED_MS);
    world.guestKeys.connected();
    await world.guestKeys.stop();
    set();
    expect(world.keys.asked).toEqual([]);
  });

  it('has none for a guest that runs on other volumes than its definition names by now', async () => {
    runs(true);
    opened(false);
    world.clock.advance(ADMITTED_MS);
    world.guestKeys.connected();
    await world.guestKeys.stop();
    set();
    expect(world.keys.asked).toEqual([]);
  });

  it('does not have those that are not granted any more', async () => {
    await start();
    world.secrets.values.clear();
    world.keys.grants.set(REFERENCE, 'KEY_DENIED');
    world.guestKeys.connected();
    await world.guestKeys.stop();
    set();
    expect(world.keys.asked).toHaveLength(2);
  });
});

describe('a key that is not granted any more', () => {
  it.each(['KEY_DENIED', 'KEY_NOT_FOUND'] as const)(
    '%s: is taken back, and its guest goes on',
    async (code) => {
      await start();
      await world.guestKeys.look();
      set(PATH);
      world.keys.grants.set(REFERENCE, code);
      await world.guestKeys.look();
      set();
      expect(world.revoked.count).toBe(1);
      expect(world.audit.at(-1)).toMatchObject({
        ...{ what: 'key revoked', who: 'daemon', domain: uuid, key: REFERENCE, decision: 'denied' },
        problem: { code },
      });
      expect(world.libvirt.domains.get(uuid)?.active).toBe(true);
      expect(world.libvirt.started).toEqual([]);
    },
  );

  it('stays while nobody can tell', async () => {
    await start();
    world.keys.grants.set(REFERENCE, 'KEY_SERVER_UNREACHABLE');
    await world.guestKeys.look();
    world.keys.grants.set(REFERENCE, 'hangs');
    const look = world.guestKeys.look();
    await until('asked', () => world.keys.asked.length === 3);
    world.clock.advance(10_000);
    await look;
    set(PATH);
    expect(world.revoked.count).toBe(0);
  });

  it('is taken back though keys of other guests get odd answers, whichever they are', async () => {
    await start();
    const others = ['a', 'b', 'c', 'd', 'e'];
    world.keys.grants.set(REFERENCE, 'KEY_DENIED');
    for (const [at, name] of others.entries()) {
      const other = uuid.replaceAll('1', String(at + 2));
      world.define({ uuid: other, name, key: `file:${name}` });
      await until('known', () => world.ledger.domainOf(other) !== undefined);
      const found = world.libvirt.domains.get(other);
      if (found !== undefined) world.libvirt.domains.set(other, { ...found, active: true });
      world.keys.grants.set(`file:${name}`, 'KEY_SERVER_UNREACHABLE');
      world.secrets.values.set(`/dev/vg0/${name}`, Buffer.from(KEY));
      world.reconciler.heard(other, 'begun');
    }
    // Behind all others.
    const value = world.secrets.values.get(PATH);
    world.secrets.values.delete(PATH);
    if (value !== undefined) world.secrets.values.set(PATH, value);
    world.clock.advance(ADMITTED_MS);
    for (let look = 0; look < 3; look++) await world.guestKeys.look();
    expect(world.revoked.count).toBe(1);
    set(...others.map((name) => `/dev/vg0/${name}`));
  });

  it('is noticed by the timer', async () => {
    await start();
    world.keys.grants.set(REFERENCE, 'KEY_DENIED');
    world.guestKeys.start(60_000, () => !world.libvirt.isAway);
    world.clock.advance(60_000);
    await until('taken back', () => world.secrets.values.size === 0);
    await world.guestKeys.stop();
  });
});

describe('a domain that the daemon is to start', () => {
  /** libvirt asks the gate, as it does. */
  function gateIsAsked(): void {
    world.libvirt.onStart = async () => {
      const { allowed } = await ask();
      if (!allowed)
        throw new ProvisionError({ code: 'LIBVIRT_FAILED', message: 'Hook script execution failed' });
      runs(true);
      world.reconciler.heard(uuid, 'begun');
    };
  }

  async function looksAtEverything(): Promise<void> {
    await world.reconciler.requestAll();
    await until('at rest', () => !world.reconciler.isBusy && world.fills.running.size === 0);
  }

  /** At boot by the gate, and once libvirtd takes clients by whoever has its key. */
  async function autostartIsRefusedItsKey(): Promise<void> {
    world.define({ ...vm1, autostart: true });
    gateIsAsked();
    world.keys.grants.set(REFERENCE, 'KEY_SERVER_UNREACHABLE');
    await admitStart({ ...world.admit, isLibvirtReachable: () => false }, 'prepare', domainXml(vm1));
    await looksAtEverything();
  }

  it('is started once libvirtd takes clients, when its autostart was refused for that', async () => {
    world.define({ ...vm1, autostart: true });
    gateIsAsked();
    await admitStart({ ...world.admit, isLibvirtReachable: () => false }, 'prepare', domainXml(vm1));
    await looksAtEverything();
    await until('started', () => world.libvirt.domains.get(uuid)?.active === true);
    runs(false);
    world.reconciler.heard(uuid, 'ended');
    await looksAtEverything();
    expect(world.libvirt.started).toEqual([uuid]);
  });

  it('is started once in a boot in which the gate was not reached', async () => {
    wishMissedAutostarts({ boots: world.ledger, ledger: world.ledger }, 'first boot');
    world.define({ ...vm1, autostart: true });
    await looksAtEverything();
    expect(world.libvirt.started).toEqual([]);
    world.restart();
    gateIsAsked();
    wishMissedAutostarts({ boots: world.ledger, ledger: world.ledger }, 'second boot');
    await looksAtEverything();
    await until('started', () => world.libvirt.started.length === 1);
    set(PATH);
    runs(false);
    world.restart();
    wishMissedAutostarts({ boots: world.ledger, ledger: world.ledger }, 'second boot');
    await looksAtEverything();
    expect(world.libvirt.started).toEqual([uuid]);
  });

  it('is tried again, after a pause, when its key could not be had', async () => {
    await autostartIsRefusedItsKey();
    await until(
      'tried',
      () => world.ledger.domainOf(uuid)?.startWish === 'if-autostart' && world.libvirt.started.length === 1,
    );
    await looksAtEverything();
    expect(world.libvirt.started).toHaveLength(1);
    world.keys.grants.delete(REFERENCE);
    world.clock.advance(600_000);
    await until('started', () => world.libvirt.domains.get(uuid)?.active === true);
    expect(world.libvirt.started).toHaveLength(2);
  });

  it('is not started by us when somebody else has, who has also ended it', async () => {
    await autostartIsRefusedItsKey();
    await until(
      'tried',
      () => world.libvirt.started.length === 1 && world.ledger.domainOf(uuid)?.startWish !== 'no',
    );
    world.keys.grants.delete(REFERENCE);
    await start();
    runs(false);
    world.reconciler.heard(uuid, 'ended');
    world.clock.advance(600_000);
    await looksAtEverything();
    expect(world.libvirt.started).toHaveLength(1);
  });
});

/** Goal: whatever changes something leaves an event that says who, what, on which volume, and how it ended. */
import { describe, expect, it } from 'vitest';
import type { AuditEvent } from '../../../src/core/protocol/audit-event.ts';
import { ProvisionError } from '../../../src/core/errors.ts';
import {
  auditedFills,
  auditedLuks,
  auditedPools,
  auditedVolumes,
} from '../../../src/provision/audit/audited-effects.ts';
import { auditedGate, auditedVerbs } from '../../../src/provision/audit/audited-verbs.ts';
import { FindAudit } from '../../../src/provision/audit/find-audit.ts';
import type { FillRun, FillTask } from '../../../src/provision/fill/fills.ts';
import { FillsStopped } from '../../../src/provision/fill/fills.ts';
import type { FillRecord, KnownDomain } from '../../../src/provision/ports/ledger.ts';
import type { Pools } from '../../../src/provision/ports/libvirt.ts';
import type { Volumes } from '../../../src/provision/ports/volumes.ts';
import { watchedFill } from '../../../src/provision/fill/watched-fill.ts';
import { AuditQuery } from '../../../src/core/protocol/audit-protocol.ts';
import {
  DB,
  FakeGarbageVerbs,
  FakeImageVerbs,
  FakeJobVerbs,
  FakeKeyVerbs,
  FakeVerbs,
  JOB,
  SEAL,
  silent,
  WEB,
} from '../../cli/fake-verbs.ts';

const FILL = '00112233445566aa';

/** A trail, and what stands in it, each event in a line. */
function trailOf() {
  const events: Omit<AuditEvent, 'at'>[] = [];
  const lines = () =>
    events.map(({ who, what, volume = '-', decision, outcome, problem }) =>
      [who, what, volume, decision, outcome, ...(problem === undefined ? [] : [problem.code])].join(' '),
    );
  return { events, lines, trail: { record: (event: Omit<AuditEvent, 'at'>) => void events.push(event) } };
}

const failing = (code: ProvisionError['code']) => () =>
  Promise.reject(new ProvisionError({ code, message: `it is ${code}` }));

describe('what callers ask for', () => {
  function called() {
    const written = trailOf();
    const callable = {
      verbs: new FakeVerbs(),
      images: new FakeImageVerbs(),
      garbage: new FakeGarbageVerbs(),
      jobs: new FakeJobVerbs(),
    };
    return { ...written, callable, ...auditedVerbs(callable, written.trail, 'uid:0') };
  }

  it('leaves an event for each verb that changes something, and none for those that look', async () => {
    const { verbs, images, garbage, jobs, lines, events } = called();
    const annotation = { target: 'vda', image: 'images/a', format: 'raw' } as const;
    await Promise.all([verbs.domains(), verbs.domain('web1'), verbs.explain('web1'), verbs.handover('web1')]);
    await verbs.annotate('web1', { ...annotation, dryRun: true });
    await verbs.reprovision('web1', { target: 'vda', dryRun: true });
    await garbage.collect({ dryRun: true });
    await images.images();
    await Promise.all([jobs.job(JOB.id), jobs.jobs({ limit: 1 })]);
    expect(lines()).toEqual([]);
    await verbs.annotate('web1', annotation);
    await verbs.cancel('web1');
    await verbs.retry('web1', 'vda');
    await verbs.reprovision('web1', { target: 'vda', confirm: 'web1/vda' });
    await verbs.provision('<domain/>');
    await verbs.receive({ uuid: DB.uuid, name: 'db1', volumes: [] });
    await images.gc(true);
    await garbage.collect({});
    await jobs.start(JOB.request, 'uid:0');
    await jobs.cancel(JOB.id);
    await jobs.retry(JOB.id);
    await verbs.look();
    expect(lines()).toEqual([
      'uid:0 annotate - allowed done',
      'uid:0 cancel - allowed done',
      'uid:0 retry - allowed done',
      'uid:0 reprovision vg0/web1-root allowed done',
      'uid:0 provision - allowed done',
      'uid:0 receive - allowed done',
      'uid:0 image gc - allowed done',
      'uid:0 gc - allowed done',
      'uid:0 job create vg0/web2-root allowed done',
      'uid:0 job cancel vg0/web2-root allowed done',
      'uid:0 job retry vg0/web2-root allowed done',
      'uid:0 incident thaw - allowed done',
    ]);
    expect(events[1]?.domain).toBe(WEB.uuid);
    const ofJobs = events.filter(({ what }) => what.startsWith('job'));
    expect(ofJobs.map(({ domain }) => domain)).toEqual(Array(3).fill(`job:${JOB.id}`));
    expect(new Set(events.map(({ correlationId }) => correlationId)).size).toBe(events.length);
  });

  it('says failed of what was tried, refused of what was not to be done, denied of what may not be', async () => {
    const { verbs, callable, lines } = called();
    await expect(verbs.retry('db1')).rejects.toThrow('is ready');
    callable.verbs.cancel = failing('LIBVIRT_FAILED');
    await expect(verbs.cancel('db1')).rejects.toThrow();
    callable.verbs.provision = failing('POLICY_REFUSED');
    await expect(verbs.provision('<domain/>')).rejects.toThrow();
    expect(lines()).toEqual([
      'uid:0 retry - allowed refused VOLUME_STATE',
      'uid:0 cancel - allowed failed LIBVIRT_FAILED',
      'uid:0 provision - denied refused POLICY_REFUSED',
    ]);
  });
});

describe('what is asked for about keys', () => {
  it('leaves an event with the name of the key, and none where it is only tried', async () => {
    const { trail, lines, events } = trailOf();
    const callable = {
      ...{ verbs: new FakeVerbs(), images: new FakeImageVerbs(), garbage: new FakeGarbageVerbs() },
      ...{ jobs: new FakeJobVerbs(), keys: new FakeKeyVerbs() },
    };
    const { keys } = auditedVerbs(callable, trail, 'uid:0');
    const asked = { domain: 'web1', target: 'vda', to: 'file:new' };
    await keys?.rotate({ ...asked, dryRun: true });
    await keys?.erase({ volume: 'vg0/web1-root', dryRun: true });
    expect(lines()).toEqual([]);
    await keys?.rotate(asked);
    await expect(keys?.rotate({ ...asked, to: 'file:taken' })).rejects.toThrow();
    await keys?.erase({ volume: 'vg0/web1-root', confirm: 'vg0/web1-root' });
    await expect(keys?.erase({ volume: 'vg0/web1-root' })).rejects.toThrow();
    expect(lines()).toEqual([
      'uid:0 key rotate vg0/web1-root allowed done',
      'uid:0 key rotate - allowed refused KEY_IN_USE',
      'uid:0 incident crypto-erase vg0/web1-root allowed done',
      'uid:0 incident crypto-erase vg0/web1-root allowed refused USAGE',
    ]);
    expect(events.map(({ key }) => key)).toEqual(['file:new', 'file:taken', undefined, undefined]);
  });
});

describe('the gate', () => {
  it('leaves an event for each decision, by the domain', async () => {
    const { trail, lines } = trailOf();
    const problem = { code: 'VOLUME_STATE', message: 'not yet' } as const;
    const answers = [
      { allowed: true, problems: [], domainUuid: WEB.uuid },
      { allowed: false, problems: [problem], domainUuid: WEB.uuid },
    ];
    const gate = auditedGate(
      () => Promise.resolve(answers.shift() ?? { allowed: true, problems: [] }),
      trail,
    );
    await gate('prepare', '');
    await gate('migrate', '');
    await expect(auditedGate(failing('HELPER_UNAVAILABLE'), trail)('prepare', '')).rejects.toThrow();
    expect(lines()).toEqual([
      `domain:${WEB.uuid} gate prepare - allowed done`,
      `domain:${WEB.uuid} gate migrate - denied refused VOLUME_STATE`,
      'unknown gate prepare - denied failed HELPER_UNAVAILABLE',
    ]);
  });
});

const record: FillRecord = {
  ...{ fillId: FILL, domainUuid: DB.uuid, domainName: 'db1', state: 'waiting', attempts: 0 },
  request: { target: 'vda', image: { bucket: 'images', key: 'a' }, format: 'raw', generation: 1 },
  location: { pool: 'guests', vg: 'vg0', lv: 'db1-root' },
  ...{ createdAtMs: 1, updatedAtMs: 1 },
};

describe('effects', () => {
  const done = () => Promise.resolve();
  const volumes: Volumes = {
    list: () => Promise.resolve({ volumes: [], groups: [], thinPools: [] }),
    examine: () => Promise.resolve({ blank: true }),
    create: () => Promise.resolve({ made: 'created', sizeBytes: 1 }),
    clone: () => Promise.resolve({ made: 'created', sizeBytes: 1 }),
    adopt: () => Promise.resolve({ sizeBytes: 1 }),
    ...{ publish: failing('TIMEOUT'), claim: done, retire: done, restore: done, arrive: done },
    ...{ recall: done, discard: done, drop: done },
  };
  const volume = { vg: 'vg0', fillId: FILL, target: 'db1-root', domainUuid: DB.uuid };
  const pools: Pools = {
    list: () =>
      Promise.resolve([{ name: 'guests', vg: 'vg0', active: true, uuid: '', autostart: true }] as never),
    ...{ refresh: done, start: done, deleteVolume: done },
  };

  it('on volumes leave one each, with the id of the fill', async () => {
    const { trail, lines, events } = trailOf();
    const audited = auditedVolumes(volumes, trail);
    await Promise.all([audited.list(), audited.examine('vg0', 'x')]);
    await audited.create(volume, 1);
    await audited.adopt(volume);
    await expect(audited.publish(volume, SEAL)).rejects.toThrow();
    await audited.claim('vg0', SEAL, WEB.uuid);
    await audited.retire('vg0', SEAL);
    await audited.restore('vg0', SEAL);
    await audited.arrive('vg0', SEAL);
    await audited.recall('vg0', FILL);
    await audited.discard(volume);
    await audited.create({ ...volume, domainUuid: `job:${JOB.id}` }, 1);
    // As its verbs call it.
    expect(events.pop()).toMatchObject({ who: `job:${JOB.id}`, domain: `job:${JOB.id}` });
    const who = `domain:${DB.uuid}`;
    expect(lines()).toEqual([
      `${who} create vg0/db1-root allowed done`,
      `${who} adopt vg0/db1-root allowed done`,
      `${who} publish vg0/db1-root allowed failed TIMEOUT`,
      `domain:${WEB.uuid} claim vg0/db1-root allowed done`,
      `${who} retire vg0/db1-root allowed done`,
      `${who} restore vg0/db1-root allowed done`,
      `${who} arrive vg0/db1-root allowed done`,
      `daemon recall vg0/lvp-fill-${FILL} allowed done`,
      `daemon discard vg0/lvp-fill-${FILL} allowed done`,
    ]);
    expect(new Set(events.map(({ correlationId }) => correlationId))).toEqual(new Set([FILL]));
  });

  it('say whose volume was deleted', async () => {
    const { trail, lines, events } = trailOf();
    const ledger = { fillsAt: ({ lv }: { lv: string }) => (lv === 'db1-root' ? [record] : []) };
    const audited = auditedPools(pools, trail, ledger);
    await audited.list();
    await audited.deleteVolume('guests', 'db1-root');
    await audited.deleteVolume('guests', `lvp-fill-${FILL}`);
    expect(lines()).toEqual([
      `domain:${DB.uuid} delete vg0/db1-root allowed done`,
      `daemon delete vg0/lvp-fill-${FILL} allowed done`,
    ]);
    expect(events.map(({ correlationId }) => correlationId)).toEqual([FILL, FILL]);
  });
});

describe('fills', () => {
  /** What stands in the trail after a fill that ended like that. */
  async function filled(task: FillTask, end: () => Promise<string>, reason?: unknown): Promise<string[]> {
    const { trail, lines } = trailOf();
    const abort = new AbortController();
    if (reason !== undefined) abort.abort(reason);
    const run: FillRun = {
      ...{ signal: abort.signal, log: silent, isImageWanted: () => false },
      ...{ phase: () => undefined, progress: () => undefined, from: () => undefined },
    };
    await watchedFill(end, [auditedFills(trail)])(record, task, run).catch(() => undefined);
    return lines().map((line) => line.replace(`domain:${DB.uuid} `, ''));
  }
  const published = () => Promise.resolve('ab');

  it('leave an event when they begin, and when they end', async () => {
    const [from, begun] = [{ from: 'nothing' } as never, 'fill vg0/db1-root allowed begun'];
    expect(await filled(from, published)).toEqual([begun, 'fill vg0/db1-root allowed done']);
    expect(await filled(from, failing('DIGEST_MISMATCH'))).toEqual([
      begun,
      'fill vg0/db1-root allowed failed DIGEST_MISMATCH',
    ]);
    expect(await filled(from, failing('POLICY_REFUSED'))).toEqual([
      begun,
      'fill vg0/db1-root denied failed POLICY_REFUSED',
    ]);
    const cancelled = new ProvisionError({ code: 'CANCELLED', message: 'ended' });
    expect(await filled(from, failing('STORE_UNREACHABLE'), cancelled)).toEqual([
      begun,
      'fill cancelled vg0/db1-root allowed done CANCELLED',
    ]);
  });

  it('leave none when they end with the daemon, or when the helper says it all', async () => {
    const from = { from: 'nothing' } as never;
    expect(await filled(from, failing('TIMEOUT'), new FillsStopped())).toHaveLength(1);
    expect(await filled({ from: 'claim', seal: SEAL }, published)).toEqual([]);
    expect(await filled({ from: 'finish', seal: SEAL }, failing('LIBVIRT_FAILED'))).toEqual([
      'fill vg0/db1-root allowed failed LIBVIRT_FAILED',
    ]);
  });
});

describe('looking', () => {
  const asked: AuditQuery[] = [];
  const store = {
    find: (query: AuditQuery) => {
      asked.push(query);
      return { events: [], more: false };
    },
  };
  const gone: KnownDomain = {
    domain: { uuid: DB.uuid, name: 'db1', disks: [] },
    ...{ origin: 'libvirt', startWish: 'no', seenAtMs: 1 },
  };
  const find = new FindAudit({
    store,
    ledger: { domains: () => [gone] },
    domains: { find: (name) => Promise.resolve(name === 'web1' ? ({ uuid: WEB.uuid } as never) : undefined) },
  });
  const ask = async (domain: string) => {
    await find.audit(AuditQuery.parse({ domain }));
    return asked.at(-1)?.domain;
  };

  it('knows domains by UUID, from the ledger and from libvirt', async () => {
    expect(await ask(SEAL.domainUuid)).toBe(DB.uuid);
    expect(await ask('db1')).toBe(DB.uuid);
    expect(await ask('web1')).toBe(WEB.uuid);
    expect(await ask(`job:${JOB.id}`)).toBe(JOB.id);
    await expect(ask('nobody')).rejects.toThrow("There is no domain 'nobody'.");
  });
});

describe('what is done to encrypted volumes', () => {
  it('leaves an event that says on which volume and nothing of the key, and none where the rotation tells', async () => {
    const { lines, events, trail } = trailOf();
    const wrong = failing('KEY_WRONG');
    const done = () => Promise.resolve();
    const opened = () => Promise.resolve({ sizeBytes: 1 });
    const luks = auditedLuks(
      {
        ...{ formatLuks: opened, openLuks: opened, closeLuks: done },
        ...{ addLuksKey: done, keepOnlyLuksKey: wrong, eraseLuks: done },
        checkLuks: () => Promise.resolve({ keys: 1 }),
      },
      trail,
    );
    const bytes = Buffer.from('a-key-that-is-not-to-be-seen-anywhere');
    const key = { bytes, wipe: () => bytes.fill(0) };
    const seal = { ...SEAL, encryption: 'luks1' as const };
    const volume = { ...seal, vg: 'vg0' };
    await luks.formatLuks(volume, key);
    await luks.openLuks(volume, key);
    await luks.closeLuks(volume);
    await luks.checkLuks('vg0', seal, key);
    await luks.addLuksKey('vg0', seal, key, key);
    await expect(luks.keepOnlyLuksKey('vg0', seal, key)).rejects.toMatchObject({ code: 'KEY_WRONG' });
    await luks.eraseLuks('vg0', seal);
    const whole = ` vg0/${seal.target}`;
    expect(lines().map((line) => line.replace(/^\S+ /, ''))).toEqual([`encrypt${whole} allowed done`]);
    expect(JSON.stringify(events)).not.toContain('not-to-be-seen');
  });
});

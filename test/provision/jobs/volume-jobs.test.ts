/**
 * Goal: a job makes a volume as an annotation would, at most one domain ever gets it, and only if that asks for
 * the same; a job that is over leaves nothing but what it says of itself. Method: the real verbs over a world in
 * memory.
 */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ownerOfJob } from '../../../src/core/owner.ts';
import type { Job, JobRequest } from '../../../src/core/protocol/job-protocol.ts';
import type { Seal, VolumeMark } from '../../../src/core/volume/volume.ts';
import { fillTags, privateName, readMark, sealTags } from '../../../src/core/volume/volume.ts';
import { admitStart } from '../../../src/provision/gate/admit-start.ts';
import { domainXml, MIB, until, World } from '../world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const other = '22222222-2222-4222-8222-222222222222';
const lostJob = '33333333-3333-4333-8333-333333333333';
const request: JobRequest = { image: 'images/small.raw', format: 'raw', volume: 'vm1' };
const digestOf = (world: World) => createHash('sha256').update(world.image).digest('hex');

function markOf(world: World, lv = 'vm1'): VolumeMark | undefined {
  const found = world.volume(lv);
  return found && readMark(found.tags);
}

function ownerAt(world: World, lv = 'vm1'): string | undefined {
  const mark = markOf(world, lv);
  return mark?.state === 'ready' ? mark.domainUuid : undefined;
}

async function ended(world: World, { id }: Job): Promise<Job> {
  await until('the job has ended', () => world.ledger.jobOf(id)?.end !== undefined);
  return world.jobs.job(id);
}

async function completed(world: World, asked: Partial<JobRequest> = {}): Promise<Job> {
  const job = await ended(world, await world.jobs.start({ ...request, ...asked }, 'uid:0'));
  expect(job.state).toBe('completed');
  return job;
}

/** A job whose fill stands still with a private volume. */
async function held(world: World): Promise<Job> {
  world.images.hold();
  const job = await world.jobs.start(request, 'uid:0');
  await until('a private volume', () => world.names().length === 1);
  return job;
}

/** Of the first disk of a domain: what is planned for it. */
async function explained(world: World, name = 'vm1'): Promise<string> {
  const { steps, start } = await world.verbs.explain(name);
  return `${steps[0]?.action ?? ''}: ${start.why}`;
}

const codeOf = (code: string) => expect.objectContaining({ code }) as unknown;

describe('a job', () => {
  it('fills and publishes a volume, and says so when nothing else does any more', async () => {
    const world = new World();
    const begun = await world.jobs.start({ ...request, correlationId: 'mine' }, 'uid:1000');
    expect(begun).toMatchObject({ location: 'vg0/vm1', by: 'uid:1000', state: 'running' });
    const job = await ended(world, begun);
    const { length: bytes } = world.image;
    expect(job).toMatchObject({
      ...{ state: 'completed', sha256: digestOf(world), bytesDone: bytes, bytesTotal: bytes },
      ...{ cacheHit: false, request: { correlationId: 'mine' } },
    });
    expect(world.isFilled('vm1')).toBe(true);
    expect(markOf(world)).toMatchObject({
      domainUuid: ownerOfJob(job.id),
      format: 'raw',
      fillId: job.fillId,
    });
    expect(world.ledger.fills()).toEqual([]);
    expect(world.ledger.domains()).toEqual([]);
  });

  it.each([
    ['an image that is not there', { image: 'images/none' }, 'IMAGE_NOT_FOUND'],
    ['another digest', { sha256: 'ab'.repeat(32) }, 'DIGEST_MISMATCH'],
    ['less than the image', { size: '1MiB' }, 'IMAGE_TOO_LARGE'],
  ])('fails for %s, and leaves nothing', async (_, asked, code) => {
    const world = new World();
    const job = await ended(world, await world.jobs.start({ ...request, ...asked }, 'uid:0'));
    expect(job).toMatchObject({ state: 'failed', problem: { code } });
    await until('nothing is left', () => world.names().length === 0);
    expect(world.ledger.fills()).toEqual([]);
  });

  it.each([
    ['a pool that is not there', { pool: 'others' }, 'POOL_UNSUITABLE'],
    ['a name of ours', { volume: 'lvp-fill-x' }, 'DISK_UNSUITABLE'],
    ['an image without a bucket', { image: 'small' }, 'ANNOTATION_INVALID'],
  ])('is refused at once for %s', async (_, asked, code) => {
    const world = new World();
    await expect(world.jobs.start({ ...request, ...asked }, 'uid:0')).rejects.toEqual(codeOf(code));
    expect((await world.jobs.jobs({ limit: 10 })).jobs).toEqual([]);
  });

  it('is refused while its pool is stopped', async () => {
    const world = new World();
    world.libvirt.stopPool();
    await expect(world.jobs.start(request, 'uid:0')).rejects.toEqual(codeOf('POOL_INACTIVE'));
    expect(world.ledger.unfinishedJobs()).toEqual([]);
  });

  it('waits while the store is away, and goes on by itself', async () => {
    const world = new World();
    world.images.isAway = true;
    const { id } = await world.jobs.start(request, 'uid:0');
    await until('it has failed for now', () => world.ledger.fills()[0]?.state === 'failed');
    expect(await world.jobs.job(id)).toMatchObject({
      state: 'pending',
      problem: { code: 'STORE_UNREACHABLE' },
    });
    world.images.isAway = false;
    expect(await world.jobs.retry(id)).toMatchObject({ id });
    await until('completed', () => world.ledger.jobOf(id)?.end?.state === 'completed');
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('waits for its turn, and says for how many others; one for which there is no place is refused', async () => {
    const world = new World({ limits: { concurrentMax: 1, queueMax: 1 } });
    const first = await held(world);
    const second = await world.jobs.start({ ...request, volume: 'vm2' }, 'uid:0');
    expect(second).toMatchObject({ state: 'pending', queuePosition: 0 });
    await expect(world.jobs.start({ ...request, volume: 'vm3' }, 'uid:0')).rejects.toEqual(
      codeOf('QUEUE_FULL'),
    );
    const jobsIn = async (state: Job['state']) =>
      (await world.jobs.jobs({ state, limit: 10 })).jobs.map(({ id }) => id);
    expect([await jobsIn('running'), await jobsIn('pending')]).toEqual([[first.id], [second.id]]);
    world.images.letGo();
    await Promise.all([ended(world, first), ended(world, second)]);
    expect(await jobsIn('completed')).toEqual(expect.arrayContaining([first.id, second.id]));
    expect(world.names().sort()).toEqual(['vg0/vm1', 'vg0/vm2']);
  });

  it('goes on after a restart, under the same fill', async () => {
    const world = new World();
    const { id } = await held(world);
    const [row] = world.ledger.fills();
    await Promise.all([world.reconciler.stop(), world.fills.stop()]);
    world.images.letGo();
    world.restart();
    expect(await world.jobs.job(id)).toMatchObject({ state: 'pending' });
    await world.reconciler.requestAll();
    await until('completed', () => world.ledger.jobOf(id)?.end?.state === 'completed');
    expect(await world.jobs.job(id)).toMatchObject({ fillId: row?.fillId });
    expect(world.isFilled('vm1')).toBe(true);
    expect(world.names()).toEqual(['vg0/vm1']);
  });

  it('that was published when the daemon died is completed at the next start', async () => {
    const world = new World();
    const job = await completed(world);
    const row = world.ledger.jobOf(job.id);
    if (row === undefined) throw new Error('no row');
    world.ledger.putJob({ ...row, end: undefined });
    world.restart();
    await world.reconciler.requestAll();
    expect(await ended(world, job)).toMatchObject({ state: 'completed', sha256: digestOf(world) });
  });

  it('is never asked of libvirt, whatever is looked at', async () => {
    const world = new World();
    const asked: string[] = [];
    const read = world.libvirt.read.bind(world.libvirt);
    world.libvirt.read = (domain) => {
      asked.push(domain);
      return read(domain);
    };
    await held(world);
    await world.reconciler.requestAll();
    await world.reconciler.idle();
    expect(await world.verbs.domains()).toEqual([]);
    expect(asked).toEqual([]);
    expect(world.fills.running.size).toBe(1);
  });

  it("is refused by the host's policy as a domain would be, and so is it when the policy has changed", async () => {
    const world = new World({ hostPolicy: [{ name: 'named', domains: ['vm*'], allow: true }] });
    await expect(world.jobs.start(request, 'uid:0')).rejects.toEqual(codeOf('POLICY_REFUSED'));
    world.hostPolicy = [{ name: 'jobs', domains: ['job:*'], allow: true, pools: ['guests'] }];
    world.restart();
    const job = await held(world);
    await Promise.all([world.reconciler.stop(), world.fills.stop()]);
    world.images.letGo();
    world.hostPolicy = [{ name: 'nothing', allow: false }];
    world.restart();
    await world.reconciler.requestAll();
    expect(await ended(world, job)).toMatchObject({ state: 'failed', problem: { code: 'POLICY_REFUSED' } });
    await world.reconciler.requestAll();
    expect(world.names()).toEqual([]);
  });
});

describe('one name', () => {
  it('is filled by one job at a time', async () => {
    const world = new World();
    const first = await held(world);
    const second = world.jobs.start(request, 'uid:0');
    await expect(second).rejects.toThrow(`being filled for job ${first.id}`);
    world.images.letGo();
    await ended(world, first);
    await expect(world.jobs.start(request, 'uid:0')).rejects.toThrow(`published for job ${first.id}`);
    expect((await world.jobs.jobs({ limit: 10 })).jobs).toHaveLength(1);
  });

  it('that a domain has or fills is refused', async () => {
    const world = new World();
    world.images.hold();
    world.define({ uuid, name: 'vm1' });
    await until('a private volume', () => world.names().length === 1);
    await expect(world.jobs.start(request, 'uid:0')).rejects.toEqual(codeOf('VOLUME_OF_OTHER_DOMAIN'));
    world.images.letGo();
    await until('published', () => ownerAt(world) === uuid);
    await expect(world.jobs.start(request, 'uid:0')).rejects.toEqual(codeOf('VOLUME_OF_OTHER_DOMAIN'));
    expect(ownerAt(world)).toBe(uuid);
  });

  it("of somebody's data is refused, and the data is untouched", async () => {
    const world = new World();
    world.volumes.add('vm1', Buffer.alloc(8 * MIB, 0x11));
    await expect(world.jobs.start(request, 'uid:0')).rejects.toEqual(codeOf('VOLUME_NOT_BLANK'));
    expect(world.volume('vm1')?.bytes.every((byte) => byte === 0x11)).toBe(true);
    expect(world.volume('vm1')?.tags).toEqual([]);
  });

  it('that is filled by a job is waited for by a domain, and then its own: there is one fill', async () => {
    const world = new World();
    const job = await held(world);
    world.define({ uuid, name: 'vm1' });
    await world.reconciler.idle();
    expect(await explained(world)).toContain('wait for the running fill');
    expect(world.names()).toHaveLength(1);
    world.images.letGo();
    await until('claimed', () => ownerAt(world) === uuid);
    expect(markOf(world)).toMatchObject({ fillId: (await world.jobs.job(job.id)).fillId });
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('that is filled by a job is refused to a domain that wants another image', async () => {
    const world = new World();
    world.images.objects.set('images/other.raw', world.image);
    const job = await held(world);
    world.define({ uuid, name: 'vm1', attributes: `sha256='${'ab'.repeat(32)}'` });
    await world.reconciler.idle();
    world.images.letGo();
    await ended(world, job);
    await world.reconciler.idle();
    expect(await explained(world)).toContain(`was filled by job ${job.id}`);
    expect(ownerAt(world)).toBe(ownerOfJob(job.id));
  });
});

describe('a claim', () => {
  it('makes the volume a domain’s, once and for good, and the job knows whose', async () => {
    const world = new World();
    const job = await completed(world);
    world.define({ uuid, name: 'vm1' });
    await until('claimed', () => world.ledger.fillOf(uuid, 'vda')?.state === 'ready');
    expect(world.volume('vm1')?.tags.filter((tag) => tag.startsWith('lvp:format'))).toEqual([]);
    expect(await world.jobs.job(job.id)).toMatchObject({ state: 'completed', claimedBy: uuid });
    expect((await admitStart(world.admit, 'prepare', domainXml({ uuid, name: 'vm1' }))).allowed).toBe(true);
    world.undefine(uuid);
    world.define({ uuid: other, name: 'vm2', lv: 'vm1' });
    await world.reconciler.idle();
    expect(await explained(world, 'vm2')).toContain(`published for domain ${uuid}`);
    expect(ownerAt(world)).toBe(uuid);
  });

  it('comes with the first start of a domain that libvirt does not know', async () => {
    const world = new World();
    await completed(world);
    const answer = await admitStart(world.admit, 'prepare', domainXml({ uuid, name: 'vm1' }));
    expect(answer).toMatchObject({ allowed: true, problems: [] });
    expect(ownerAt(world)).toBe(uuid);
  });

  it('is not made for a domain that arrives, which brings its bytes along', async () => {
    const world = new World();
    const job = await completed(world);
    const xml = domainXml({ uuid, name: 'vm1' });
    expect((await admitStart(world.admit, 'restore', xml)).allowed).toBe(false);
    world.reconciler.incoming.mark(uuid, 'admitted');
    world.define({ uuid, name: 'vm1' });
    await world.reconciler.idle();
    expect(ownerAt(world)).toBe(ownerOfJob(job.id));
  });

  it.each([
    ['another image', "image='images/other.raw' ", 'it was filled from images/small.raw'],
    ['another digest', `sha256='${'ab'.repeat(32)}'`, 'its image has the SHA-256'],
    ['a SHA-512', `sha512='${'ab'.repeat(64)}'`, 'its image has the SHA-256'],
    ['a version', "version='v1'", 'its image has the SHA-256'],
    ['a generation', "generation='2'", 'the annotation asks for generation 2'],
    ['more bytes', "size='1GiB'", 'too few for the size asked for'],
    ['a compressed image', "compression='zstd'", 'its image was read as raw, not as raw+zstd'],
  ])('is refused for %s, and nothing is touched', async (_, attributes, why) => {
    const world = new World();
    const job = await completed(world);
    const xml = domainXml({ uuid, name: 'vm1', attributes });
    const once = attributes.startsWith('image=') ? xml.replace("image='images/small.raw' ", '') : xml;
    const tags = world.volume('vm1')?.tags;
    const { allowed, problems } = await admitStart(world.admit, 'prepare', once);
    expect([allowed, problems[0]?.code]).toEqual([false, 'VOLUME_OF_OTHER_DOMAIN']);
    expect(problems[0]?.message).toContain(`job ${job.id}`);
    expect(problems[0]?.message).toContain(why);
    expect(world.volume('vm1')?.tags).toEqual(tags);
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('goes by the digest that the annotation states', async () => {
    const world = new World();
    await completed(world);
    const attributes = `sha256='${digestOf(world)}' version='v1'`;
    world.define({ uuid, name: 'vm1', attributes });
    await until('claimed', () => ownerAt(world) === uuid);
  });

  it.each([
    ['allows it nothing', { allow: false }, 'POLICY_REFUSED'],
    ['allows it smaller volumes', { allow: true, sizeMaxBytes: MIB }, 'POLICY_REFUSED'],
    ['wants a signature', { allow: true, require: 'signature' as const }, 'VOLUME_OF_OTHER_DOMAIN'],
    [
      'wants a digest, which it does not state',
      { allow: true, require: 'digest' as const },
      'VOLUME_OF_OTHER_DOMAIN',
    ],
  ])('is refused to a domain if the policy %s', async (_, rule, code) => {
    const jobs = { name: 'jobs', domains: ['job:*'], allow: true };
    const world = new World({ hostPolicy: [jobs, { name: 'others', ...rule }] });
    const job = await completed(world);
    // A digest is stated only where it is not enough.
    const attributes = 'require' in rule && rule.require === 'signature' ? `sha256='${digestOf(world)}'` : '';
    const answer = await admitStart(world.admit, 'prepare', domainXml({ uuid, name: 'vm1', attributes }));
    expect(answer.problems).toEqual([codeOf(code)]);
    expect(ownerAt(world)).toBe(ownerOfJob(job.id));
  });

  it('is not made behind the back of a domain whose own volume is gone', async () => {
    const world = new World();
    world.define({ uuid, name: 'vm1' });
    await until('published', () => world.ledger.fillOf(uuid, 'vda')?.state === 'ready');
    world.volumes.remove('vm1');
    const job = await completed(world);
    await world.reconciler.requestAll();
    await world.reconciler.idle();
    expect(ownerAt(world)).toBe(ownerOfJob(job.id));
    expect(await explained(world)).toContain('was published for this domain and is gone');
    await world.verbs.retry('vm1');
    await until('claimed', () => ownerAt(world) === uuid);
  });

  it('waits for whoever has the volume open, without a pause that nobody ends', async () => {
    const world = new World();
    const job = await completed(world);
    world.volumes.lvm.get('vm1').openLooks = Infinity;
    world.define({ uuid, name: 'vm1' });
    await until('tried', () => world.ledger.fillOf(uuid, 'vda')?.state === 'failed');
    await world.reconciler.requestAll();
    await world.reconciler.idle();
    expect(ownerAt(world)).toBe(ownerOfJob(job.id));
    expect(world.fills.running.size).toBe(0);
    world.volumes.lvm.get('vm1').openLooks = 0;
    await world.reconciler.requestAll();
    await until('claimed', () => ownerAt(world) === uuid);
  });

  it('is made with the ledger lost: the seal says whose it is', async () => {
    const world = new World();
    world.volumes.add('vm1', Buffer.concat([world.image, Buffer.alloc(512)]), sealTags(sealOf(world)));
    world.define({ uuid, name: 'vm1' });
    await until('claimed', () => ownerAt(world) === uuid);
  });
});

function sealOf(world: World): Omit<Seal, 'state'> {
  return {
    ...{ fillId: '00112233445566aa', target: 'vm1', domainUuid: ownerOfJob(lostJob) },
    ...{ image: 'images/small.raw', sha256: digestOf(world), generation: 1, format: 'raw' },
  };
}

describe('a cancelled job', () => {
  it('leaves nothing, and can be begun again under its id', async () => {
    const world = new World();
    const { id } = await held(world);
    expect(await world.jobs.cancel(id)).toMatchObject({
      id,
      state: 'cancelled',
      problem: { code: 'CANCELLED' },
    });
    expect([world.names(), world.ledger.fills()]).toEqual([[], []]);
    await expect(world.jobs.cancel(id)).rejects.toEqual(codeOf('VOLUME_STATE'));
    world.images.letGo();
    expect(await world.jobs.retry(id)).toMatchObject({ id, state: 'running' });
    await until('completed', () => world.ledger.jobOf(id)?.end?.state === 'completed');
    await expect(world.jobs.retry(id)).rejects.toEqual(codeOf('VOLUME_STATE'));
    await expect(world.jobs.cancel(id)).rejects.toEqual(codeOf('VOLUME_STATE'));
    expect(ownerAt(world)).toBe(ownerOfJob(id));
  });

  it('gives back what an earlier try of it has kept', async () => {
    const world = new World();
    const job = await held(world);
    world.images.isAway = true;
    world.images.letGo();
    await until('it has failed for now', () => {
      world.clock.advance(1_000);
      return world.ledger.fills()[0]?.state === 'failed';
    });
    expect(world.names()).toHaveLength(1);
    await world.jobs.cancel(job.id);
    expect(world.names()).toEqual([]);
  });

  it('is not cancelled any more while its volume is being published', async () => {
    const world = new World();
    world.libvirt.brokenRefreshes = 1;
    const { id } = await world.jobs.start(request, 'uid:0');
    await until('sealed', () => markOf(world)?.state === 'ready');
    await expect(world.jobs.cancel(id)).rejects.toEqual(codeOf('VOLUME_STATE'));
    expect(ownerAt(world)).toBe(ownerOfJob(id));
  });

  it('lets the domain that waits for it fill the volume itself', async () => {
    const world = new World();
    const job = await held(world);
    world.define({ uuid, name: 'vm1' });
    await world.reconciler.idle();
    await world.jobs.cancel(job.id);
    world.images.letGo();
    await until('published', () => ownerAt(world) === uuid);
    expect(world.isFilled('vm1')).toBe(true);
    await expect(world.jobs.retry(job.id)).rejects.toEqual(codeOf('VOLUME_OF_OTHER_DOMAIN'));
    expect(await world.jobs.job(job.id)).toMatchObject({ state: 'cancelled' });
  });

  it('that nobody knows is JOB_NOT_FOUND', async () => {
    const world = new World();
    for (const asked of [world.jobs.job(lostJob), world.jobs.cancel(lostJob), world.jobs.retry(lostJob)]) {
      await expect(asked).rejects.toEqual(codeOf('JOB_NOT_FOUND'));
    }
  });
});

describe('lvp gc', () => {
  const findings = async (world: World) =>
    (await world.garbage.collect({})).findings.map(({ kind, name, action }) => [kind, name, action]);

  it('finds nothing of a job that is remembered, whether it goes on or has ended', async () => {
    const world = new World();
    const job = await held(world);
    expect(await findings(world)).toEqual([]);
    world.images.letGo();
    await ended(world, job);
    expect(await findings(world)).toEqual([]);
    expect(world.names()).toEqual(['vg0/vm1']);
  });

  it('shows what a job has filled that is not remembered, and leaves it to a person', async () => {
    const world = new World();
    world.volumes.add('vm1', Buffer.alloc(MIB), sealTags(sealOf(world)));
    expect(await findings(world)).toEqual([['orphan', 'vg0/vm1', 'none']]);
    expect(world.names()).toEqual(['vg0/vm1']);
  });

  it('removes what a job was filling that is not remembered', async () => {
    const world = new World();
    const { fillId } = sealOf(world);
    world.volumes.add(privateName(fillId), Buffer.alloc(MIB), fillTags(sealOf(world)));
    expect(await findings(world)).toEqual([['abandoned', `vg0/${privateName(fillId)}`, 'remove']]);
    expect(world.names()).toEqual([]);
  });
});

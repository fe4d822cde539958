/**
 * Goal: a thin pool that is full of metadata or data, only to be read, or damaged, in the middle of a golden fill, a
 * clone, its growing or its publishing, costs nobody a byte and leaves nothing half made; what to do is said, and done,
 * all goes on by itself. Method: a pool of its own that is spoiled by hand, calls of LVM that are held in the middle, and
 * the daemon.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { collectLogsOnFailure, eventually, Host } from './host.ts';
import {
  beginSlowFill,
  configureProvisioner,
  define,
  deviceDigest,
  expectedDigest,
  failureOf,
  limitRate,
  privateVolumes,
  published,
  putRandomImages,
} from './provisioned-host.ts';
import {
  damageMetadata,
  holdCall,
  isHeld,
  letGo,
  mendMetadata,
  prepareToHold,
  repair,
  useUpData,
  useUpMetadata,
  wantCheck,
} from './thin-pool-faults.ts';

const MIB = 1 << 20;
const LIMIT_MS = 300_000;
const SERVICE = 'libvirt-volume-provisioner';

/** The pool of the tests is promised more than it has. */
const CONFIG = `
thin_pools: {vg1: pool0}
thin: {overcommit: 50}`;

let host: Host | undefined;
let folder = '';
collectLogsOnFailure(() => host);

function there(): Host {
  return host ?? expect.fail('the host did not boot');
}

async function sh(script: string): Promise<string> {
  return (await there().sh(`set -euo pipefail; ${script}`, { timeoutMs: LIMIT_MS })).stdout;
}

const device = (name: string) => `/dev/vg1/${name}`;
const goldens = async () =>
  (await sh('lvs --noheadings -o lv_name vg1')).split(/\s+/).filter((lv) => lv.startsWith('lvp-gold-'));
const defineThin = (name: string, image: string, sizeMiB?: number) =>
  define(there(), {
    ...{ name, device: device(name), image },
    ...(sizeMiB === undefined ? {} : { attributes: `size="${sizeMiB}MiB"` }),
  });
const logged = (text: string) =>
  eventually(`the log says: ${text}`, async () => {
    const said = await sh(
      `journalctl --unit ${SERVICE} --output cat | grep -F '${text}' | tail -n 1 || true`,
    );
    return said === '' ? undefined : said;
  });
const metric = async (name: string) => Number((await sh(`lvp metrics | sed -n 's/^${name} //p'`)) || '0');

/** Published, with the bytes of its image and zeros to its end. */
async function expectWhole(name: string, image: string, sizeMiB?: number): Promise<void> {
  await published(there(), name, LIMIT_MS);
  const size = sizeMiB === undefined ? undefined : sizeMiB * MIB;
  expect(await deviceDigest(there(), device(name))).toBe(
    await expectedDigest(join(folder, image), 'raw', size),
  );
}

/** What the doctor says of a check. */
async function finding(
  id: string,
): Promise<{ readonly severity: string; readonly what: string } | undefined> {
  const { stdout } = await there().sh('lvp doctor --json', { reject: false });
  const { findings } = JSON.parse(stdout) as {
    readonly findings: readonly { readonly id: string; readonly severity: string; readonly what: string }[];
  };
  return findings.find((one) => one.id === id);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lvp-'));
  host = await Host.up('thin-faults', { installed: true });
  await sh(
    'lvcreate -qq --yes --type thin-pool --size 640m --poolmetadatasize 4m --chunksize 64k --zero y --name pool0 vg1; lvchange -qq --errorwhenfull y vg1/pool0',
  );
  await configureProvisioner(host);
  await host.sh(
    `set -e; sed -i 's/^volume_groups: .*/volume_groups: [vg0, vg1]/' /etc/${SERVICE}/config.yaml
     cat >>/etc/${SERVICE}/config.yaml; systemctl restart ${SERVICE}`,
    { input: CONFIG },
  );
  await prepareToHold(host);
  await putRandomImages(host, folder, { 'warm.raw': 24, 'late.raw': 64, 'sealing.raw': 16 });
  await defineThin('first', 'warm.raw', 64);
  await published(host, 'first');
});
afterAll(async () => {
  await host?.down();
  await rm(folder, { recursive: true, force: true });
});

// What one test has left held is not to fail the next.
afterEach(() => letGo(there()));

describe('a thin pool', () => {
  it('without space for metadata takes nothing new, finishes what is made, serves reads, and goes on once it has more', async () => {
    const first = await deviceDigest(there(), device('first'));
    await beginSlowFill(there(), { name: 'starved', device: device('starved'), image: 'late.raw' });
    await holdCall(there(), 'lvextend *');
    await defineThin('growing', 'warm.raw', 512);
    await isHeld(there());
    await useUpMetadata(there());
    await letGo(there());
    await expectWhole('growing', 'warm.raw', 512);
    const full = {
      code: 'VG_FULL',
      message: expect.stringContaining('The thin pool vg1/pool0 has no space left for metadata') as string,
      hint: expect.stringContaining('lvextend --poolmetadatasize +SIZE vg1/pool0') as string,
    };
    await limitRate(there(), undefined);
    expect(await failureOf(there(), 'starved')).toMatchObject(full);
    await defineThin('refused', 'warm.raw');
    expect(await failureOf(there(), 'refused')).toMatchObject(full);
    expect(await privateVolumes(there(), 'vg1')).toEqual(await goldens());
    expect(await sh('ls /dev/vg1')).not.toMatch(/starved|refused/);
    // What LVM has forgotten, and could not tell the pool, is gone.
    expect(
      await sh(`journalctl --unit ${SERVICE}-helper --output cat | grep -c 'lvremove.*Cannot send' || true`),
    ).toBe('0');
    expect(await deviceDigest(there(), device('first'))).toBe(first);
    expect(await finding('lvm.thin-pools')).toMatchObject({
      ...{ severity: 'fail', what: expect.stringContaining('vg1/pool0') as string },
    });
    expect(await metric('lvp_thin_pool_unhealthy{vg="vg1",pool="pool0"}')).toBe(1);
    expect(await logged('a thin pool is full: no more volumes')).toContain('--poolmetadatasize');
    // Another group is not concerned, nor are thick volumes of this one.
    await define(there(), { name: 'elsewhere', image: 'warm.raw' });
    await published(there(), 'elsewhere', LIMIT_MS);
    await sh('lvextend -qq --poolmetadatasize +4m vg1/pool0');
    await expectWhole('refused', 'warm.raw');
    await expectWhole('starved', 'late.raw');
    expect(await metric('lvp_thin_pool_unhealthy{vg="vg1",pool="pool0"}')).toBe(0);
  });

  it('without space for data publishes what is finished, refuses clones, and goes on once there is room', async () => {
    await holdCall(there(), 'lvchange *lvp:golden*');
    await defineThin('sealing', 'sealing.raw', 48);
    await isHeld(there());
    const before = await goldens();
    await useUpData(there());
    await letGo(there());
    const full = {
      code: 'VG_FULL',
      message: expect.stringContaining('vg1/pool0') as string,
      hint: expect.stringContaining('lvextend') as string,
    };
    expect(await failureOf(there(), 'sealing')).toMatchObject(full);
    expect(await goldens()).toHaveLength(before.length + 1);
    await sh('lvremove -qq --yes vg1/filler');
    await expectWhole('sealing', 'sealing.raw', 48);

    // Admitted while there was room.
    await holdCall(there(), 'lvcreate *lvp-gold-*');
    await defineThin('late-clone', 'warm.raw');
    await isHeld(there());
    await useUpData(there());
    await letGo(there());
    expect(await failureOf(there(), 'late-clone')).toMatchObject(full);
    expect(await privateVolumes(there(), 'vg1')).toEqual(await goldens());
    await sh('lvremove -qq --yes vg1/filler');
    await expectWhole('late-clone', 'warm.raw');
  });

  it('that must be checked is said to be, gives reads, and takes volumes again when it was repaired', async () => {
    await wantCheck(there());
    const checked = {
      code: 'POOL_UNSUITABLE',
      message: expect.stringContaining('vg1/pool0 must be checked') as string,
    };
    await defineThin('unchecked', 'warm.raw');
    expect(await failureOf(there(), 'unchecked')).toMatchObject({
      ...{ ...checked, hint: expect.stringContaining('lvconvert --repair vg1/pool0') as string },
    });
    await expectWhole('first', 'warm.raw', 64);
    expect(await finding('lvm.thin-pools')).toMatchObject({
      ...{ severity: 'fail', what: expect.stringContaining('to be checked') as string },
    });
    expect(await privateVolumes(there(), 'vg1')).toEqual(await goldens());
    await repair(there());
    await expectWhole('unchecked', 'warm.raw');
  });

  it('whose metadata are damaged is said to need repair by whoever wants a volume of it', async () => {
    await damageMetadata(there());
    await defineThin('unactivated', 'warm.raw');
    expect(await failureOf(there(), 'unactivated')).toMatchObject({
      code: 'POOL_UNSUITABLE',
      message: expect.stringContaining('vg1/pool0 cannot be activated') as string,
      hint: expect.stringContaining('lvconvert --repair vg1/pool0') as string,
    });
    expect(await privateVolumes(there(), 'vg1')).toEqual(await goldens());
    await mendMetadata(there());
    await expectWhole('unactivated', 'warm.raw');
    await expectWhole('first', 'warm.raw', 64);
  });
});

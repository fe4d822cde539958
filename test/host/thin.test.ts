/**
 * Goal: a guest's volume out of a golden one holds the image and zeros to the end, whatever the disks held before and
 * whenever the power went; what one guest writes nobody else reads; libvirt's refreshes do not mind; and an image comes
 * from the store once for all who want it. Method: a thin pool on soiled disks, the root helper asked line by line, then
 * the daemon; a real MinIO behind a loopback whose bytes are counted.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HelperRequest, HelperResult } from '../../src/core/protocol/helper-protocol.ts';
import { GOLDEN_OWNER } from '../../src/core/owner.ts';
import { fillTags, goldenName, privateName, readMark } from '../../src/core/volume/volume.ts';
import type { GoldenSeal, NewGoldenSeal, Seal } from '../../src/core/volume/volume.ts';
import { askHelper, prepareToAsk } from './ask-helper.ts';
import { collectLogsOnFailure, eventually, Host } from './host.ts';
import type { ShResult } from './host.ts';
import {
  configureProvisioner,
  beginSlowFill,
  define,
  defineAll,
  deviceDigest,
  domainXml,
  expectedDigest,
  failureOf,
  limitRate,
  LVM_WRAPPER,
  privateVolumes,
  published,
  putRandomImages,
  soilFreeSpace,
} from './provisioned-host.ts';

const MIB = 1 << 20;
const LIMIT_MS = 300_000;
/** How often a machine may be too busy for a start within the usual grace before that is a failure. */
const BUSY_TRIES_MAX = 8;
const SERVICE = 'libvirt-volume-provisioner';
const CONFIG = `/etc/${SERVICE}/config.yaml`;
const DOMAIN = '11111111-2222-3333-4444-555555555555';

let host: Host | undefined;
let folder = '';
collectLogsOnFailure(() => host);

function there(): Host {
  return host ?? expect.fail('the host did not boot');
}

async function sh(script: string): Promise<string> {
  return (await there().sh(`set -euo pipefail; ${script}`, { timeoutMs: LIMIT_MS })).stdout;
}

/** The answer to a request that must succeed. */
async function done(request: HelperRequest): Promise<unknown> {
  const response = await askHelper(there(), request);
  if (!response.ok) throw new Error(`${request.verb}: ${response.problem.message}`);
  return response.result;
}

const listing = async () => (await done({ verb: 'list' })) as HelperResult<'list'>;
const volumeNamed = async (lv: string) => (await listing()).volumes.find((volume) => volume.lv === lv);

let fills = 0;
function newVolume(target?: string) {
  fills += 1;
  const fillId = fills.toString(16).padStart(16, '0');
  return {
    ...{ vg: 'vg1', fillId, target: target ?? goldenName(fillId) },
    domainUuid: target === undefined ? GOLDEN_OWNER : DOMAIN,
  };
}
type Volume = ReturnType<typeof newVolume>;

const about = { image: 'images/debian.qcow2', sha256: 'ab'.repeat(32) };
const sealOf = ({ fillId, target, domainUuid }: Volume): Seal => ({
  ...{ state: 'ready', fillId, target, domainUuid, ...about, generation: 1 },
});
/** Not a whole number of chunks, nor of extents. */
const content = randomBytes(24 * MIB + 512 * 3);
const goldenSealOf = ({ fillId }: Volume): NewGoldenSeal => ({
  ...{ state: 'golden', fillId, ...about, format: 'qcow2', sizeBytes: content.length },
  contentSha256: createHash('sha256').update(content).digest('hex'),
});
const referenceOf = ({ fillId }: Volume) => ({ fillId, sha256: about.sha256, format: 'qcow2' });
const tagged = (tags: readonly string[]) => tags.map((tag) => `--addtag ${tag}`).join(' ');

/** Of the content and zeros to so many bytes. */
function digestWithZeros(sizeBytes: number): string {
  return createHash('sha256')
    .update(content)
    .update(Buffer.alloc(sizeBytes - content.length))
    .digest('hex');
}

/** A private thin volume that the service user, who alone may, has written the content to. */
async function written(): Promise<Volume> {
  const volume = newVolume();
  await done({ verb: 'create', volume, sizeBytes: content.length, thinPool: 'pool0' });
  await there().sh(
    `setpriv --reuid ${SERVICE} --regid ${SERVICE} --clear-groups \
       dd of=/dev/vg1/${privateName(volume.fillId)} bs=64K oflag=dsync conv=notrunc iflag=fullblock status=none`,
    { input: content },
  );
  return volume;
}

async function cloned(golden: Volume, target: string, sizeBytes: number): Promise<Volume> {
  const volume = newVolume(target);
  await done({ verb: 'clone', volume, golden: referenceOf(golden), sizeBytes });
  return volume;
}

const publish = (volume: Volume) => done({ verb: 'publish', volume, seal: sealOf(volume) });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lvp-'));
  host = await Host.up('thin', { installed: true });
  await prepareToAsk(host);
  // The disks held something before.
  await soilFreeSpace(host, 1024, 'vg1');
  await sh(
    `printf 'volume_groups: [vg1]\\nthin_pools: {vg1: pool0}\\n' >${CONFIG}
     lvcreate -qq --yes --type thin-pool --size 900m --zero n --name pool0 vg1`,
  );
});
afterAll(async () => {
  await host?.down();
  await rm(folder, { recursive: true, force: true });
});

describe('a golden volume', () => {
  let golden: Volume;

  it('is not made in a pool that would show what was there before', async () => {
    const request = { verb: 'create', volume: newVolume(), sizeBytes: MIB, thinPool: 'pool0' };
    expect(await askHelper(there(), request)).toMatchObject({
      ...{ ok: false },
      problem: { code: 'POOL_UNSUITABLE', hint: expect.stringContaining('lvchange --zero y') as string },
    });
    await sh('lvchange -qq --zero y vg1/pool0');
  });

  it('is read-only, has no node, stays inactive when its group is activated, and says what it holds', async () => {
    golden = await written();
    await done({ verb: 'publish', volume: golden, seal: goldenSealOf(golden) });
    await sh('vgchange -qq -aay vg1; vgchange -qq -ay vg1; udevadm settle');
    const found = await volumeNamed(golden.target);
    expect(found).toMatchObject({ active: false, writable: false, thinPool: 'pool0', segmentType: 'thin' });
    const mark = readMark(found?.tags ?? []);
    expect(mark).toMatchObject(goldenSealOf(golden));
    const { mappedBytes } = mark as GoldenSeal;
    expect(mappedBytes).toBeGreaterThanOrEqual(content.length);
    expect(mappedBytes).toBeLessThan(content.length + 4 * MIB);
    expect(await sh('ls /dev/vg1 /dev/mapper 2>&1 || true')).not.toContain('gold');
    const [pool] = (await listing()).thinPools;
    expect(pool).toMatchObject({ vg: 'vg1', lv: 'pool0', zeroes: true, active: true });
    expect(pool?.usedBytes).toBeGreaterThanOrEqual(content.length);
  });

  it('gives guests its bytes and zeros to the end, and none reads what another writes', async () => {
    const [one, other] = [await cloned(golden, 'one', 200 * MIB), await cloned(golden, 'other', 100 * MIB)];
    for (const volume of [one, other]) await publish(volume);
    expect(await sh(`stat -L -c '%U:%G %a' /dev/vg1/one`)).toBe('root:disk 660');
    expect(await deviceDigest(there(), '/dev/vg1/one')).toBe(digestWithZeros(200 * MIB));
    // Into the image, into its last chunk, and behind it: each a chunk of which only a part is written.
    await sh(
      `for at in 0 $((${content.length} / 4096 - 1)) 20000; do
         dd if=/dev/urandom of=/dev/vg1/one bs=4096 seek=$at count=1 oflag=direct conv=notrunc status=none
       done`,
    );
    expect(await deviceDigest(there(), '/dev/vg1/one')).not.toBe(digestWithZeros(200 * MIB));
    expect(await deviceDigest(there(), '/dev/vg1/other')).toBe(digestWithZeros(100 * MIB));
    const third = await cloned(golden, 'third', 100 * MIB);
    // It has no node until it is published.
    const hidden = privateName(third.fillId);
    expect(await sh(`ls /dev/vg1 /dev/mapper; lvs --noheadings -o lv_active vg1/${hidden}`)).not.toMatch(
      /fill|active/,
    );
    await sh(`lvchange -qq -ay -K vg1/${hidden}`);
    expect(await deviceDigest(there(), `/dev/vg1/${hidden}`)).toBe(digestWithZeros(100 * MIB));
    // What is beside the 4 KiB behind the image was never written by anybody.
    const around = await sh(
      'dd if=/dev/vg1/one bs=64K skip=1250 count=1 iflag=direct status=none | tail -c 61440 | tr -d "\\0" | wc -c',
    );
    expect(around).toBe('0');
    await done({ verb: 'discard', vg: 'vg1', fillId: third.fillId });
    expect(await volumeNamed(privateName(third.fillId))).toBeUndefined();
  });

  it('and what is made of it is found and gone on with after a power cut between any two steps', async () => {
    // As the helper leaves them when it dies: each of its steps is one command.
    const [snapshot, going, half] = [newVolume('grown'), newVolume('going'), await written()];
    await done({ verb: 'clone', volume: going, golden: referenceOf(golden), sizeBytes: 64 * MIB });
    await sh(
      `lvcreate -qq --yes --type thin --setactivationskip y --permission rw --activate n \
         --name ${privateName(snapshot.fillId)} ${tagged(fillTags(snapshot))} vg1/${golden.target}
       lvchange -qq -an vg1/${privateName(half.fillId)}
       lvchange -qq --permission r --setactivationskip y vg1/${privateName(half.fillId)}
       touch /root/cut; sync`,
    );
    await there().kill();
    await there().boot();
    await sh('test -e /root/cut');
    expect(await volumeNamed(golden.target)).toMatchObject({ active: false, writable: false });
    expect(await deviceDigest(there(), '/dev/vg1/other')).toBe(digestWithZeros(100 * MIB));
    const again = { verb: 'clone' as const, golden: referenceOf(golden), sizeBytes: 64 * MIB };
    for (const volume of [snapshot, going]) {
      expect(await done({ ...again, volume })).toEqual({ made: 'existing', sizeBytes: 64 * MIB });
      await publish(volume);
      expect(await deviceDigest(there(), `/dev/vg1/${volume.target}`)).toBe(digestWithZeros(64 * MIB));
    }
    await done({ verb: 'publish', volume: half, seal: goldenSealOf(half) });
    expect(readMark((await volumeNamed(half.target))?.tags ?? [])).toMatchObject(goldenSealOf(half));
    expect((await volumeNamed(half.target))?.active).toBe(false);
  });

  it('goes without harm to what was made of it, and no refresh of a pool on the group fails meanwhile', async () => {
    await sh(
      `virsh pool-define-as others logical --source-name vg1 --target /dev/vg1; virsh pool-start others
       systemd-run --quiet --unit=refresher sh -c 'while [ ! -e /run/enough ]; do
         if virsh pool-refresh others >/dev/null 2>&1; then echo done; else echo failed; fi >>/run/refreshes; done'`,
    );
    const mark = readMark((await volumeNamed(golden.target))?.tags ?? []);
    for (let round = 0; round < 6; round++) {
      const volume = await cloned(golden, `round${round}`, 48 * MIB);
      if (round % 2 === 0) await done({ verb: 'discard', vg: 'vg1', fillId: volume.fillId });
      else {
        await publish(volume);
        await done({ verb: 'drop', vg: 'vg1', seal: sealOf(volume) });
      }
    }
    await done({ verb: 'drop', vg: 'vg1', seal: mark as GoldenSeal });
    await done({ verb: 'drop', vg: 'vg1', seal: mark as GoldenSeal });
    await sh('touch /run/enough; while systemctl is-active --quiet refresher; do sleep 0.1; done');
    const refreshes = (await sh('cat /run/refreshes')).split('\n');
    process.stdout.write(`refreshes beside removals of thin volumes: ${refreshes.length}\n`);
    expect(refreshes.filter((one) => one !== 'done')).toEqual([]);
    expect(await sh('virsh pool-info others')).toContain('running');
    expect(await deviceDigest(there(), '/dev/vg1/other')).toBe(digestWithZeros(100 * MIB));
    expect((await listing()).volumes.map(({ lv }) => lv)).not.toContain(golden.target);
    expect(
      await askHelper(there(), {
        verb: 'clone',
        volume: newVolume('late'),
        golden: referenceOf(golden),
        sizeBytes: 64 * MIB,
      }),
    ).toMatchObject({ problem: { code: 'VOLUME_MISSING' } });
    await sh('virsh pool-destroy others; virsh pool-undefine others; vgchange -qq -aay vg1');
  });
});

describe('the daemon', () => {
  const device = (name: string) => `/dev/vg1/${name}`;
  const goldens = async () =>
    (await sh('lvs --noheadings -o lv_name vg1')).split(/\s+/).filter((lv) => lv.startsWith('lvp-gold-'));
  /** What MinIO says that it has sent, which it counts anew from time to time; `until` says what is waited for. */
  const sentBytes = (until: (bytes: number) => boolean = () => true): Promise<number> =>
    eventually('MinIO has counted', async () => {
      const said = await sh(
        `curl --silent --fail --insecure https://minio.test:9000/minio/v2/metrics/node |
           sed -n 's/^minio_s3_traffic_sent_bytes{.*} //p'`,
      );
      const bytes = Number(said);
      return said !== '' && until(bytes) ? bytes : undefined;
    });

  beforeAll(async () => {
    await configureProvisioner(there());
    await sh(
      `lvs --noheadings -o lv_name vg1 | grep -v pool0 | while read -r lv; do lvremove -qq --yes vg1/$lv; done
       sed -i 's/^volume_groups: .*/volume_groups: [vg0, vg1]/' ${CONFIG}
       printf 'thin_pools: {vg1: pool0}\nthin: {overcommit: 20}\n' >>${CONFIG}
       mkdir /etc/systemd/system/minio.service.d
       printf '[Service]\nEnvironment=MINIO_PROMETHEUS_AUTH_TYPE=public\n' \
         >/etc/systemd/system/minio.service.d/open-metrics.conf
       systemctl daemon-reload; systemctl restart minio ${SERVICE}`,
    );
  });

  it('gives a domain a clone, its guest boots from it, and the next one waits for no image', async () => {
    const { stdout: sector } = await execa(join(import.meta.dirname, 'boot-sector'), { encoding: 'buffer' });
    const image = join(folder, 'boot.raw');
    await writeFile(image, Buffer.concat([sector, randomBytes(8 * MIB)]));
    await there().putImage(image, 'boot.raw', { sidecar: true });
    await define(there(), {
      name: 'first',
      device: device('first'),
      image: 'boot.raw',
      attributes: 'size="64MiB"',
    });
    await published(there(), 'first');
    expect(await goldens()).toHaveLength(1);
    expect(await deviceDigest(there(), device('first'))).toBe(await expectedDigest(image, 'raw', 64 * MIB));
    await sh('virsh start first');
    await eventually(
      'the guest speaks',
      async () =>
        (await sh('cat /var/log/libvirt/qemu/first-serial.log')).includes('LVP-BOOT-OK') || undefined,
    );
    await sh('virsh destroy first');
    const second = {
      name: 'second',
      device: device('second'),
      image: 'boot.raw',
      attributes: 'size="512MiB"',
    };
    await define(there(), second);
    await published(there(), 'second');
    expect(await deviceDigest(there(), device('second'))).toBe(await expectedDigest(image, 'raw', 512 * MIB));
    expect(await goldens()).toHaveLength(1);
  });

  /** The grace is that of the configuration's default; a machine may be too busy for that now and then. */
  async function firstTryOf(what: string, tryIt: (name: string) => Promise<ShResult>): Promise<void> {
    for (let tries = 1; ; tries++) {
      const name = `${what}${tries}`;
      const { exitCode, stderr } = await tryIt(name);
      await sh(`virsh destroy ${name} 2>/dev/null || true`);
      if (exitCode !== 0 && tries < BUSY_TRIES_MAX) continue;
      expect(stderr).toBe('');
      await eventually('the guest has spoken', async () =>
        (await sh(`cat /var/log/libvirt/qemu/${name}-serial.log`)).includes('LVP-BOOT-OK') ? true : undefined,
      );
      return;
    }
  }
  const spoken = (name: string) =>
    `until grep -q LVP-BOOT-OK /var/log/libvirt/qemu/${name}-serial.log; do sleep 0.2; done`;

  it('has a clone there before a start that follows the definition at once gives up', async () => {
    await firstTryOf('atonce', (name) => {
      const domain = { name, device: device(name), image: 'boot.raw', attributes: 'size="1GiB"' };
      return there().sh(
        `cat >/tmp/d.xml; virsh -q define /tmp/d.xml && virsh -q start ${name} && ${spoken(name)}`,
        {
          ...{ input: domainXml(domain), timeoutMs: LIMIT_MS, reject: false },
        },
      );
    });
  });

  it('and before virt-install does, which starts what libvirt has never heard of', async () => {
    await firstTryOf('installed', (name) => {
      const provision = './metadata/provision';
      const options = [
        ...['--name', name, '--import', '--virt-type', 'qemu', '--memory', '64'],
        ...['--disk', `type=block,source.dev=/dev/ubdb,driver.type=raw,target.dev=vda,bus=virtio`],
        ...[
          '--osinfo',
          'detect=off,require=off',
          '--network',
          'none',
          '--graphics',
          'none',
          '--noautoconsole',
        ],
        ...['--serial', `file,path=/var/log/libvirt/qemu/${name}-serial.log`, '--quiet'],
        // It takes no device that is not there yet.
        ...['--xml', `./devices/disk[1]/source/@dev=${device(name)}`],
        ...['--xml', `xpath.create=${provision}`],
        ...['--xml', `${provision}/@xmlns=urn:libvirt-volume-provisioner:domain:1`],
        ...['--xml', `${provision}/volume/@target=vda`],
        ...['--xml', `${provision}/volume/@image=images/boot.raw`],
        ...['--xml', `${provision}/volume/@format=raw`],
      ];
      return there().sh(`virt-install ${options.join(' ')} && ${spoken(name)}`, {
        ...{ timeoutMs: LIMIT_MS, reject: false },
      });
    });
  });

  it('brings an image once for 32 domains that are defined together', async () => {
    await putRandomImages(there(), folder, { 'storm.raw': 32 });
    const names = Array.from({ length: 32 }, (_, index) => `storm${index}`);
    const before = await sentBytes();
    const begunMs = performance.now();
    await defineAll(
      there(),
      names.map((name) => ({ name, device: device(name), image: 'storm.raw' })),
    );
    for (const name of names) await published(there(), name, LIMIT_MS);
    process.stdout.write(
      `32 domains, one cold image of 32 MiB: ${Math.round(performance.now() - begunMs)} ms\n`,
    );
    const bytes = (await sentBytes((now) => now - before > 32 * MIB)) - before;
    process.stdout.write(`bytes that MinIO has sent: ${bytes}\n`);
    expect(bytes).toBeLessThan(1.5 * 32 * MIB);
    expect(await goldens()).toHaveLength(2);
    const digest = await expectedDigest(join(folder, 'storm.raw'), 'raw');
    for (const name of names) expect(await deviceDigest(there(), device(name))).toBe(digest);
  });

  it('makes a golden volume again that somebody has removed, or has written to', async () => {
    const [, gold] = await goldens();
    await sh(`lvremove -qq --yes vg1/${gold}; lvs --noheadings -o lv_name,lv_tags vg1`);
    const [kept] = await goldens();
    await sh(`lvchange -qq --permission rw vg1/${kept}; lvchange -qq -ay -K vg1/${kept}
              dd if=/dev/urandom of=/dev/vg1/${kept} bs=4K count=1 oflag=direct conv=notrunc status=none
              lvchange -qq -an vg1/${kept}`);
    await defineAll(there(), [
      { name: 'after-removal', device: device('after-removal'), image: 'storm.raw' },
      { name: 'after-damage', device: device('after-damage'), image: 'boot.raw' },
    ]);
    for (const [name, image] of [
      ['after-removal', 'storm.raw'],
      ['after-damage', 'boot.raw'],
    ] as const) {
      await published(there(), name, LIMIT_MS);
      expect(await deviceDigest(there(), device(name))).toBe(
        await expectedDigest(join(folder, image), 'raw'),
      );
    }
  });

  it('while a pool is full of data, makes nothing, and lets guests read; then goes on by itself', async () => {
    await putRandomImages(there(), folder, { 'late.raw': 64 });
    const first = await deviceDigest(there(), device('first'));
    await beginSlowFill(there(), { name: 'starved', device: device('starved'), image: 'late.raw' });
    // At once, and not after the minute for which a write waits else.
    await sh(
      `lvchange -qq --errorwhenfull y vg1/pool0
       lvcreate -qq --yes --type thin --virtualsize 900m --thinpool pool0 --name filler vg1
       ! dd if=/dev/zero of=/dev/vg1/filler bs=1M oflag=direct status=none 2>/dev/null`,
    );
    await limitRate(there(), undefined);
    process.stdout.write(`a golden fill without space: ${(await failureOf(there(), 'starved'))?.code}\n`);
    await define(there(), { name: 'refused', device: device('refused'), image: 'boot.raw' });
    const problem = await failureOf(there(), 'refused');
    expect(problem).toMatchObject({
      code: 'VG_FULL',
      message: expect.stringContaining('vg1/pool0') as string,
    });
    expect(await privateVolumes(there(), 'vg1')).toEqual(await goldens());
    expect(await sh('ls /dev/vg1')).not.toMatch(/starved|refused/);
    expect(await deviceDigest(there(), device('first'))).toBe(first);
    await sh('lvremove -qq --yes vg1/filler');
    for (const name of ['refused', 'starved']) await published(there(), name, LIMIT_MS);
    expect(await deviceDigest(there(), device('starved'))).toBe(
      await expectedDigest(join(folder, 'late.raw'), 'raw'),
    );
  });

  describe('that is cut off', () => {
    beforeAll(async () => {
      await putRandomImages(there(), folder, { 'cut.raw': 64 });
      await there().sh(
        'mv /usr/sbin/lvm /usr/lib/lvm-of-the-host; cat >/usr/sbin/lvm; chmod 755 /usr/sbin/lvm',
        {
          input: LVM_WRAPPER,
        },
      );
    });

    const hangAt = (call: string) =>
      there().sh('rm -f /run/cut-reached; cat >/run/cut', { input: `${call}\n` });
    const reached = () =>
      there().sh('until [ -e /run/cut-reached ]; do sleep 0.05; done', { timeoutMs: LIMIT_MS });

    it('with the power, in a golden fill and in a clone, makes both again', async () => {
      await beginSlowFill(there(), { name: 'cut-golden', device: device('cut-golden'), image: 'cut.raw' });
      await hangAt('lvcreate *lvp-gold-*');
      await define(there(), { name: 'cut-clone', device: device('cut-clone'), image: 'boot.raw' });
      await reached();
      await sh('sync -f /etc/libvirt');
      await there().kill();
      await there().boot();
      for (const [name, image] of [
        ['cut-golden', 'cut.raw'],
        ['cut-clone', 'boot.raw'],
      ] as const) {
        await published(there(), name, LIMIT_MS);
        const digest = await expectedDigest(join(folder, image), 'raw');
        expect(await deviceDigest(there(), device(name))).toBe(digest);
      }
      // Those of boot.raw, storm.raw, late.raw and cut.raw; the damaged one is removed when it is next looked at.
      await eventually('one golden volume of each image is left', async () =>
        (await goldens()).length === 4 ? true : undefined,
      );
      expect(await privateVolumes(there(), 'vg1')).toEqual(await goldens());
    });

    it('with its helper, after a clone is named and before it has a node, activates it', async () => {
      await hangAt('lvrename *vg1 lvp-fill-*');
      await define(there(), { name: 'nodeless', device: device('nodeless'), image: 'boot.raw' });
      await reached();
      expect(await sh('lvs --noheadings -o lv_tags vg1/nodeless')).toContain('lvp:ready');
      expect((await sh('lvs --noheadings -o lv_active vg1/nodeless')).trim()).toBe('');
      await sh(`rm /run/cut; systemctl kill --signal=KILL ${SERVICE}-helper.service`);
      await published(there(), 'nodeless', LIMIT_MS);
      const digest = await expectedDigest(join(folder, 'boot.raw'), 'raw');
      expect(await deviceDigest(there(), device('nodeless'))).toBe(digest);
      expect(await sh(`stat -L -c '%U:%G %a' ${device('nodeless')}`)).toBe('root:disk 660');
    });
  });
});

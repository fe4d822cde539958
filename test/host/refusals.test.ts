/**
 * What must not happen does not: a volume that is somebody else's is never touched, a fill that fails leaves
 * nothing behind, and a mistake is named to everybody who asks: `lvp status`, `lvp explain`, the gate, virsh.
 * Afterwards the cause is taken away, and the volume is filled by itself or by `lvp retry`.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { DomainStatus } from '../../src/core/protocol/control-protocol.ts';
import { eventually, type ShResult } from './host.ts';
import type { TestDomain } from './provisioned-host.ts';
import {
  define,
  deviceDigest,
  domainXml,
  expectedDigest,
  privateVolumes,
  published,
  statusOf,
  useProvisionedHost,
} from './provisioned-host.ts';

const MIB = 1 << 20;
const IMAGE_MIB = 16;
const CREDENTIALS = '/etc/libvirt-volume-provisioner/credentials';

describe('a request that cannot be met', () => {
  // Looks again every five seconds: libvirt sends no event when a volume is deleted.
  const { host, folder } = useProvisionedHost('refusals', 'reconcile:\n  interval: 5s');
  let raw = '';

  beforeAll(async () => {
    raw = join(folder(), 'good.raw');
    await writeFile(raw, randomBytes(IMAGE_MIB * MIB));
    await host().putImage(raw, 'good.raw', { sidecar: true });
  });

  async function sh(script: string): Promise<string> {
    return (await host().sh(script)).stdout;
  }

  const freeBytes = () => sh('vgs --noheadings --units b -o vg_free vg0');
  const volumeNames = () => sh('lvs --noheadings -o lv_name vg0');

  function gate(name: string): Promise<ShResult> {
    return host().sh(
      `virsh dumpxml ${name} | /etc/libvirt/hooks/qemu.d/50-libvirt-volume-provisioner ${name} prepare begin -`,
      { reject: false },
    );
  }

  /** Waits for the verdict on the domain's only volume, in one of the states that say no. */
  async function verdict(name: string): Promise<DomainStatus['volumes'][number]> {
    return eventually(`a verdict on ${name}`, async () => {
      const [volume] = (await statusOf(host(), name)).volumes;
      return volume?.state === 'failed' || volume?.state === 'refused' ? volume : undefined;
    });
  }

  /** The code, its words and its remedy are the same wherever one looks, and virsh cannot start the domain. */
  async function expectRefused(name: string, code: string, says: RegExp, hint: RegExp): Promise<void> {
    const { problem } = await verdict(name);
    expect(problem?.code).toBe(code);
    expect(problem?.message).toMatch(says);
    expect(problem?.hint).toMatch(hint);
    expect(
      (await answerThat(says, () => host().sh(`lvp status ${name}`, { reject: false }))).exitCode,
    ).not.toBe(0);
    const start = await answerThat(says, () => host().sh(`virsh start ${name}`, { reject: false }));
    expect(start.exitCode).not.toBe(0);
    expect(start.stderr).toMatch(/libvirt-volume-provisioner: domain .* is not started/);
  }

  /**
   * Asks until the answer says that, or yes, which no caller expects. What may pass by itself is tried again now
   * and then, and is being filled meanwhile; and LVM on a busy machine answers too late for the gate.
   */
  async function answerThat(says: RegExp, ask: () => Promise<ShResult>): Promise<ShResult> {
    return eventually(`an answer with ${String(says)}`, async () => {
      const answer = await ask();
      return answer.exitCode === 0 || says.test(answer.stdout + answer.stderr) ? answer : undefined;
    });
  }

  async function expectFilled(name: string, sizeMib = IMAGE_MIB): Promise<void> {
    await published(host(), name);
    const digest = await deviceDigest(host(), `/dev/vg0/${name}`);
    expect(digest).toBe(await expectedDigest(raw, 'raw', sizeMib * MIB));
    await eventually('the gate lets it start', async () =>
      (await gate(name)).exitCode === 0 ? true : undefined,
    );
  }

  describe('because a volume of somebody else has its name', () => {
    // Every other kind of content or use: test/host/helper.test.ts.
    it('with a file system on it, leaves it alone until it is deleted', async () => {
      const says = /vg0\/ext4 .* not blank: .*ext4/;
      await sh('virsh vol-create-as guests ext4 128M && mkfs.ext4 -q /dev/vg0/ext4');
      const digest = await deviceDigest(host(), '/dev/vg0/ext4');
      await define(host(), { name: 'ext4', image: 'good.raw' });
      await expectRefused('ext4', 'VOLUME_NOT_BLANK', says, /virsh vol-delete/);
      expect((await host().sh('lvp retry ext4', { reject: false })).stdout).toMatch(says);
      expect(await deviceDigest(host(), '/dev/vg0/ext4')).toBe(digest);
      expect(await sh('lvs --noheadings -o lv_tags vg0/ext4')).toMatch(/^\s*$/);
      await sh('virsh vol-delete --pool guests ext4');
      await expectFilled('ext4');
    });

    it('and is held, leaves it alone until it is let go', async () => {
      await sh(
        `virsh vol-create-as guests held 64M
         dmsetup create holder --table "0 $(blockdev --getsz /dev/vg0/held) linear /dev/vg0/held 0"`,
      );
      const digest = await deviceDigest(host(), '/dev/vg0/held');
      await define(host(), { name: 'held', image: 'good.raw' });
      await expectRefused('held', 'VOLUME_NOT_BLANK', /vg0\/held .*uses it/, /left untouched/);
      expect(await deviceDigest(host(), '/dev/vg0/held')).toBe(digest);
      await sh('dmsetup remove holder');
      await expectFilled('held', 64);
    });
  });

  describe('because of its image or the store', () => {
    interface Failure {
      readonly name: string;
      readonly domain?: Partial<TestDomain>;
      readonly before: () => Promise<unknown>;
      readonly code: string;
      readonly says: RegExp;
      readonly hint: RegExp;
      /** Takes the cause away. What does not pass by itself is followed by `lvp retry`. */
      readonly mend: () => Promise<unknown>;
    }

    const retry = (name: string) => sh(`lvp retry ${name}`);

    const failures: readonly Failure[] = [
      {
        name: 'wrong-digest',
        before: async () => {
          const sidecar = join(folder(), 'wrong.sha256');
          await writeFile(sidecar, `${'0'.repeat(64)}  wrong-digest.raw\n`);
          await host().putImage(raw, 'wrong-digest.raw');
          await host().putImage(sidecar, 'wrong-digest.raw.sha256');
        },
        code: 'DIGEST_MISMATCH',
        says: /images\/wrong-digest\.raw.*0{64}/,
        hint: /.{20}/,
        mend: async () => {
          await host().putImage(raw, 'wrong-digest.raw', { sidecar: true });
          await retry('wrong-digest');
        },
      },
      {
        name: 'blank-too-small',
        domain: { image: 'good.raw' },
        before: () => sh('virsh vol-create-as guests blank-too-small 8M'),
        code: 'IMAGE_TOO_LARGE',
        says: /vg0\/blank-too-small has 8388608 bytes/,
        hint: /virsh vol-delete/,
        mend: async () => {
          await sh('virsh vol-delete --pool guests blank-too-small');
          await retry('blank-too-small');
        },
      },
      {
        name: 'missing',
        before: () => Promise.resolve(),
        code: 'IMAGE_NOT_FOUND',
        says: /images\/missing\.raw/,
        hint: /bucket, key/,
        mend: () => host().putImage(raw, 'missing.raw', { sidecar: true }),
      },
      {
        name: 'wrong-credentials',
        domain: { image: 'good.raw' },
        before: () =>
          sh(`cp -a ${CREDENTIALS}/minio-secret-key /root/right-key
              printf wrong-secret-of-no-use >${CREDENTIALS}/minio-secret-key
              systemctl restart libvirt-volume-provisioner`),
        code: 'STORE_ACCESS_DENIED',
        says: /images\/good\.raw/,
        hint: /secret key/,
        mend: () =>
          sh(`cp -a /root/right-key ${CREDENTIALS}/minio-secret-key
              systemctl restart libvirt-volume-provisioner`),
      },
      {
        name: 'store-down',
        domain: { image: 'good.raw' },
        before: () => sh('systemctl stop minio'),
        code: 'STORE_UNREACHABLE',
        says: /minio\.test:9000/,
        hint: /runs and can be reached/,
        mend: () => sh('systemctl start minio'),
      },
      {
        name: 'group-full',
        domain: { image: 'good.raw' },
        before: () => sh('lvcreate --yes --name hog --extents 100%FREE vg0'),
        code: 'VG_FULL',
        says: /vg0 has too little room for the volume group-full: wanted are 16777216 bytes .* free are 0 bytes/,
        hint: /vgextend/,
        mend: async () => {
          await sh('lvremove --yes vg0/hog');
          await retry('group-full');
        },
      },
    ];

    it.each(failures)('$name: fails clearly, gives the space back, and is filled later', async (failure) => {
      const { name, domain, before, code, says, hint, mend } = failure;
      await before();
      const free = await freeBytes();
      const names = await volumeNames();
      await define(host(), { name, image: `${name}.raw`, ...domain });
      await expectRefused(name, code, says, hint);
      await eventually('the space is back', async () => ((await freeBytes()) === free ? true : undefined));
      expect(await volumeNames()).toBe(names);
      await mend();
      await expectFilled(name);
      expect(await privateVolumes(host())).toEqual([]);
    });
  });

  describe('because its annotation is wrong', () => {
    const OTHER_DISK =
      '<volume xmlns="urn:libvirt-volume-provisioner:domain:1" target="vda" image="images/good.raw" format="raw"/>';

    const mistakes = [
      {
        name: 'unknown-attribute',
        change: (xml: string) => xml.replace('format="raw"', 'format="raw" colour="red"'),
        code: 'ANNOTATION_INVALID',
        says: /colour="red".*not an attribute we know/,
      },
      {
        name: 'twice',
        change: (xml: string) => xml.replace('</vp:provision>', `${OTHER_DISK}</vp:provision>`),
        code: 'ANNOTATION_INVALID',
        says: /more than one <volume target="vda">/,
      },
      {
        name: 'no-format',
        change: (xml: string) => xml.replace('format="raw"', ''),
        code: 'ANNOTATION_INVALID',
        says: /has no format/,
      },
      {
        name: 'shareable',
        change: (xml: string) => xml.replace('<target dev=', '<shareable/><target dev='),
        code: 'DISK_UNSUITABLE',
        says: /Disk "vda" is <shareable\/>/,
      },
      {
        name: 'no-such-disk',
        change: (xml: string) => xml.replace('target="vda"', 'target="vdb"'),
        code: 'DISK_UNSUITABLE',
        says: /has no disk "vdb"/,
      },
      {
        name: 'other-pool',
        change: (xml: string) => xml.replace("pool='guests'", "pool='nowhere'"),
        code: 'POOL_UNSUITABLE',
        says: /pool "nowhere"/,
      },
    ];

    it('is named to everybody who asks, and nothing is made', async () => {
      const names = await volumeNames();
      for (const { name, change } of mistakes)
        await host().sh('cat >/tmp/wrong.xml && virsh define /tmp/wrong.xml', {
          input: change(domainXml({ name, image: 'good.raw' })),
        });
      for (const { name, code, says } of mistakes) {
        const { problems } = await eventually(`${name} was looked at`, async () => {
          const status = await statusOf(host(), name);
          return status.problems.length > 0 ? status : undefined;
        });
        expect(problems.map((problem) => problem.code)).toContain(code);
        expect(problems.map(({ message }) => message).join('\n')).toMatch(says);
        expect(problems.every(({ hint = '' }) => hint.length > 10)).toBe(true);
        expect((await answerThat(says, () => gate(name))).exitCode).toBe(1);
      }
      const [{ name, says } = expect.fail()] = mistakes;
      expect((await host().sh(`lvp status ${name}`, { reject: false })).exitCode).toBe(5);
      const explained = await sh(`lvp explain ${name}`);
      expect(explained).toContain('would be refused');
      expect(explained).toMatch(says);
      expect(await volumeNames()).toBe(names);
    });
  });
});

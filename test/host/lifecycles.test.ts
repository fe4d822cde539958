/**
 * What else happens to domains in their lives: they are renamed, annotated without being defined again, given a
 * second disk while they run, saved, restored, snapshotted, and started by the host itself. Goal: no byte of a
 * finished volume is written by us, and no guest runs on one that is not. A start takes QEMU 16 s in this kernel,
 * so one guest goes through all of it, in this order.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from './host.ts';
import type { TestDomain } from './provisioned-host.ts';
import {
  beginSlowFill,
  define,
  deviceDigest,
  domainXml,
  expectFilled,
  limitRate,
  privateVolumes,
  published,
  statusOf,
  useProvisionedHost,
  SLOW_IMAGE_BYTES,
} from './provisioned-host.ts';

const MIB = 1 << 20;
const START_LIMIT_MS = 180_000;
const NAMESPACE = 'urn:libvirt-volume-provisioner:domain:1';

const diskXml = (target: string, lv: string) =>
  `<disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='guests' volume='${lv}'/><target dev='${target}' bus='virtio'/></disk>`;

describe('a domain', () => {
  const { host, folder } = useProvisionedHost('lifecycles');
  let image = '';
  let slow = '';

  beforeAll(async () => {
    image = join(folder(), 'image.raw');
    slow = join(folder(), 'slow.raw');
    const { stdout: sector } = await execa(join(import.meta.dirname, 'boot-sector'), { encoding: 'buffer' });
    await writeFile(image, Buffer.concat([sector, randomBytes(4 * MIB - sector.length)]));
    await writeFile(slow, Buffer.concat([sector, randomBytes(SLOW_IMAGE_BYTES - sector.length)]));
    await host().putImage(image, 'image.raw', { sidecar: true });
    await host().putImage(slow, 'slow.raw', { sidecar: true });
  });

  afterEach(() => limitRate(host(), undefined));

  const sh = async (script: string) => (await host().sh(script, { timeoutMs: START_LIMIT_MS })).stdout;

  const uuidOf = async (name: string) => (await sh(`virsh domuuid ${name}`)).trim();

  async function defineWithSecondDisk(domain: TestDomain, lv: string, image: string): Promise<void> {
    const volume = `<vp:volume target="vdb" image="images/${image}" format="raw"/>`;
    const xml = domainXml(domain)
      .replace('</vp:provision>', `${volume}</vp:provision>`)
      .replace('<serial', `${diskXml('vdb', lv)}<serial`);
    await sh(`cat >/tmp/two-disks.xml <<'XML'\n${xml}XML\nvirsh define /tmp/two-disks.xml`);
  }

  it('that gets only its metadata changed is filled', async () => {
    await define(host(), { name: 'annotated' });
    const annotation = '<provision><volume target="vda" image="images/image.raw" format="raw"/></provision>';
    await sh(`virsh metadata annotated ${NAMESPACE} --key vp --set '${annotation}' --config`);
    await expectFilled(host(), 'annotated', image);
  });

  it('that is renamed during its fill keeps the fill, and is known by its new name', async () => {
    await beginSlowFill(host(), { name: 'before', image: 'slow.raw' });
    const fillId = (await statusOf(host(), 'before')).volumes[0]?.fillId;
    await sh('virsh domrename before after');
    await limitRate(host(), undefined);
    await expectFilled(host(), 'after', slow, { lv: 'before' });
    expect((await statusOf(host(), 'after')).volumes[0]?.fillId).toBe(fillId);
    // And once more when it is finished: nothing is filled again.
    await sh('virsh domrename after renamed');
    const renamed = await published(host(), 'renamed');
    expect(renamed.volumes[0]?.fillId).toBe(fillId);
    await eventually('the old names are gone', async () => {
      const { stdout } = await host().sh('lvp list');
      return /^renamed +vda +ready/m.test(stdout) && !/^(before|after) /m.test(stdout) ? true : undefined;
    });
  });

  it('with two annotated disks starts with both or not at all, and a second one on its volume never', async () => {
    await defineWithSecondDisk({ name: 'pair', lv: 'pair-a', image: 'image.raw' }, 'pair-b', 'late.raw');
    await eventually('one is ready, the other has no image', async () => {
      const states = (await statusOf(host(), 'pair')).volumes.map(({ state }) => state);
      return states.join() === 'ready,failed' ? true : undefined;
    });
    await define(host(), { name: 'rival', lv: 'pair-a', image: 'image.raw' });
    for (const [name, why] of [
      ['pair', /disk vdb/i],
      ['rival', /disk vda/i],
    ] as const) {
      const refused = await host().sh(`virsh start ${name}`, { reject: false });
      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toMatch(why);
    }
    expect((await statusOf(host(), 'rival')).volumes[0]?.problem?.code).toBe('VOLUME_OF_OTHER_DOMAIN');
    await host().putImage(image, 'late.raw', { sidecar: true });
    await sh('lvp retry pair');
    await expectFilled(host(), 'pair', image, { lv: 'pair-a' });
    await expectFilled(host(), 'pair', image, { lv: 'pair-b' });
    expect(await privateVolumes(host())).toEqual([]);
  });

  describe('that runs', () => {
    const state = async (name = 'guest') => (await sh(`virsh domstate ${name}`)).trim();
    /** Which volume it is, and what its seal says. */
    const readSeal = () => sh('lvs --noheadings -o lv_uuid,lv_tags vg0/guest');
    const digest = () => deviceDigest(host(), '/dev/vg0/guest');
    let seal = '';
    let content = '';

    beforeAll(async () => {
      await define(host(), { name: 'guest', image: 'image.raw' });
      await expectFilled(host(), 'guest', image);
      seal = await readSeal();
      content = await digest();
      await define(host(), { name: 'late', image: 'tomorrow.raw' });
      await sh('virsh autostart guest; virsh autostart late; sync');
    });

    it('was started by the host when that booted, without us; one that was not ready then is started by us once it is', async () => {
      await sh('systemctl disable libvirt-volume-provisioner');
      await host().poweroff();
      await host().boot();
      await eventually('the ready one runs', async () => (await state()) === 'running' || undefined, {
        timeoutMs: START_LIMIT_MS,
      });
      expect(await state('late')).toBe('shut off');
      const daemon = await host().sh('systemctl is-active libvirt-volume-provisioner', { reject: false });
      expect(daemon.stdout.trim()).toBe('inactive');
      await sh('systemctl enable --now libvirt-volume-provisioner');
      await published(host(), 'guest');
      await host().putImage(image, 'tomorrow.raw', { sidecar: true });
      await sh('lvp retry late');
      await eventually(
        'the late one is started',
        async () => (await state('late')) !== 'shut off' || undefined,
        {
          timeoutMs: START_LIMIT_MS,
        },
      );
      expect((await statusOf(host(), 'late')).volumes[0]?.state).toBe('ready');
    });

    it('gets a second disk only when that one is finished', async () => {
      await limitRate(host(), 0.125);
      // `virsh attach-device --config` wants the volume to be there.
      const guest = { name: 'guest', image: 'image.raw', uuid: await uuidOf('guest') };
      await defineWithSecondDisk(guest, 'second', 'slow.raw');
      await eventually('its fill has begun', async () => {
        const { volumes } = await statusOf(host(), 'guest');
        return volumes.find(({ target }) => target === 'vdb')?.fillId;
      });
      await sh(`cat >/tmp/vdb.xml <<'XML'\n${diskXml('vdb', 'second')}\nXML`);
      const refused = await host().sh('virsh attach-device guest /tmp/vdb.xml --live', { reject: false });
      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toContain('Storage volume not found');
      await limitRate(host(), undefined);
      await expectFilled(host(), 'guest', slow, { lv: 'second' });
      // This guest has no bus to plug it in; libvirt would find it now.
      await sh('virsh vol-info --pool guests second');
      // Taken away again: the volume stays.
      await define(host(), guest);
      await published(host(), 'guest');
      expect(await sh('lvs --noheadings -o lv_tags vg0/second')).toContain('lvp:ready');
    });

    it('is saved and restored without a byte written by us', async () => {
      await sh('virsh managedsave guest');
      expect(await state()).toBe('shut off');
      expect(await digest()).toBe(content);
      await sh('virsh start guest');
      expect(await state()).toBe('running');
      expect(await readSeal()).toBe(seal);
    });

    it('on a snapshot is out of our hands, and in them again when that is reverted', async () => {
      await sh(
        'virsh snapshot-create-as guest beside --disk-only --no-metadata --diskspec vda,snapshot=external,file=/var/lib/libvirt/images/beside.qcow2',
      );
      await sh('virsh destroy guest');
      // The guest's disk is a file now, which nobody here has filled: said, and not started by mistake.
      const refused = await host().sh('virsh start guest', { reject: false });
      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toMatch(/libvirt-volume-provisioner: .*vda/);
      const { problems } = await statusOf(host(), 'guest');
      expect(new Set(problems.map(({ code }) => code))).toEqual(new Set(['DISK_UNSUITABLE']));
      await define(host(), { name: 'guest', image: 'image.raw', uuid: await uuidOf('guest') });
      await published(host(), 'guest');
      expect(await digest()).toBe(content);
      expect(await readSeal()).toBe(seal);
      expect(await privateVolumes(host())).toEqual([]);
    });
  });
});

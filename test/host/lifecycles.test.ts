/**
 * What else happens to domains in their lives: they are renamed, annotated without being defined again, given a
 * second disk while they run, saved, restored, snapshotted, and started by the host itself. Goal: no byte of a
 * finished volume is written by us, and no guest runs on one that is not. A start takes QEMU 16 s in this kernel,
 * so one guest goes through most of it, in this order.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import { eventually } from './host.ts';
import {
  define,
  deviceDigest,
  domainXml,
  expectedDigest,
  limitRate,
  privateVolumes,
  published,
  statusOf,
  useProvisionedHost,
} from './provisioned-host.ts';

const MIB = 1 << 20;
const START_LIMIT_MS = 180_000;
const DAEMON = 'libvirt-volume-provisioner';
const NAMESPACE = 'urn:libvirt-volume-provisioner:domain:1';

const element = (target: string, image: string) =>
  `<volume target="${target}" image="images/${image}" format="raw"/>`;
const annotation = (...elements: string[]) => `<provision>${elements.join('')}</provision>`;
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
    await writeFile(slow, Buffer.concat([sector, randomBytes(32 * MIB - sector.length)]));
    await host().putImage(image, 'image.raw', { sidecar: true });
    await host().putImage(slow, 'slow.raw', { sidecar: true });
  });

  const sh = async (script: string) => (await host().sh(script, { timeoutMs: START_LIMIT_MS })).stdout;

  async function expectRight(name: string, lv = name, from = image): Promise<void> {
    await published(host(), name);
    expect(await deviceDigest(host(), `/dev/vg0/${lv}`)).toBe(await expectedDigest(from, 'raw'));
    expect(await privateVolumes(host())).toEqual([]);
  }

  const annotate = (name: string, xml: string, options = '') =>
    sh(`virsh metadata ${name} ${NAMESPACE} --key vp --set '${xml}' ${options}`);

  it('that gets only its metadata changed is filled', async () => {
    await define(host(), { name: 'annotated', lv: 'annotated' });
    await annotate('annotated', annotation(element('vda', 'image.raw')), '--config');
    await expectRight('annotated');
  });

  it('that is renamed during its fill keeps the fill, and is known by its new name', async () => {
    await limitRate(host(), 2);
    await define(host(), { name: 'before', image: 'slow.raw' });
    const fillId = await eventually('bytes flow', async () => {
      const [volume] = (await statusOf(host(), 'before')).volumes;
      return (volume?.bytesDone ?? 0) > 0 ? volume?.fillId : undefined;
    });
    await limitRate(host(), 0.125);
    await sh('virsh domrename before after');
    await limitRate(host(), undefined);
    await expectRight('after', 'before', slow);
    expect((await statusOf(host(), 'after')).volumes[0]?.fillId).toBe(fillId);
    // And once more when it is finished: nothing is filled again.
    await sh('virsh domrename after renamed');
    await expectRight('renamed', 'before', slow);
    expect((await statusOf(host(), 'renamed')).volumes[0]?.fillId).toBe(fillId);
    const listed = await eventually('the list has the new name', async () => {
      const stdout = await sh('lvp list');
      return /^renamed +vda +ready/m.test(stdout) ? stdout : undefined;
    });
    expect(listed).not.toMatch(/^(before|after) /m);
  });

  it('with two annotated disks starts with both or not at all', async () => {
    const xml = domainXml({ name: 'pair', lv: 'pair-a', image: 'image.raw' })
      .replace(
        '</vp:provision>',
        `<vp:volume target="vdb" image="images/late.raw" format="raw"/></vp:provision>`,
      )
      .replace('<serial', `${diskXml('vdb', 'pair-b')}<serial`);
    await host().sh('cat >/tmp/pair.xml && virsh define /tmp/pair.xml', { input: xml });
    await eventually('one is ready, the other has no image', async () => {
      const states = (await statusOf(host(), 'pair')).volumes.map(({ state }) => state);
      return states.join() === 'ready,failed' ? true : undefined;
    });
    const refused = await host().sh('virsh start pair', { reject: false });
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toMatch(/Disk vdb: .*images\/late\.raw/);
    await host().putImage(image, 'late.raw', { sidecar: true });
    await sh('lvp retry pair');
    await expectRight('pair', 'pair-a');
    await expectRight('pair', 'pair-b');
  });

  describe('that runs', () => {
    const digest = () => deviceDigest(host(), '/dev/vg0/guest');
    const state = async () => (await sh('virsh domstate guest')).trim();
    let before = '';
    let tags = '';
    const readTags = () => sh('lvs --noheadings -o lv_uuid,lv_tags vg0/guest');

    beforeAll(async () => {
      await define(host(), { name: 'guest', image: 'image.raw' });
      await expectRight('guest');
      before = await digest();
      tags = await readTags();
      await sh('virsh start guest');
    });

    it('gets a second disk only when that one is finished', async () => {
      await limitRate(host(), 1);
      await host().sh('cat >/tmp/vdb.xml', { input: diskXml('vdb', 'second') });
      await sh('virsh attach-device guest /tmp/vdb.xml --config');
      await annotate(
        'guest',
        annotation(element('vda', 'image.raw'), element('vdb', 'slow.raw')),
        '--config',
      );
      await eventually('bytes flow', async () => {
        const second = (await statusOf(host(), 'guest')).volumes.find(({ target }) => target === 'vdb');
        return (second?.bytesDone ?? 0) > 0 ? true : undefined;
      });
      await limitRate(host(), 0.125);
      const refused = await host().sh('virsh attach-device guest /tmp/vdb.xml --live', { reject: false });
      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toContain('Storage volume not found');
      await limitRate(host(), undefined);
      await expectRight('guest', 'second', slow);
      await sh('virsh attach-device guest /tmp/vdb.xml --live');
      expect(await sh('virsh domblklist guest')).toMatch(/vdb +\/?.*second/);
      // Taken away again, from both: the volume stays.
      await annotate('guest', annotation(element('vda', 'image.raw')), '--config --live');
      await sh('virsh detach-device guest /tmp/vdb.xml --live --config');
      expect(await sh('lvs --noheadings -o lv_tags vg0/second')).toContain('lvp:ready');
    });

    it('is saved and restored without a byte written by us', async () => {
      await sh('virsh managedsave guest');
      expect(await state()).toBe('shut off');
      expect(await digest()).toBe(before);
      await sh('virsh start guest');
      expect(await state()).toBe('running');
      expect(await sh(`journalctl -u ${DAEMON} -o cat | grep '"operation":"restore"'`)).toContain(
        'start admitted',
      );
      expect(await digest()).toBe(before);
      expect(await readTags()).toBe(tags);
    });

    it('has no snapshot inside a raw volume, and one beside it takes the disk out of our hands', async () => {
      const inside = await host().sh('virsh snapshot-create-as guest inside', { reject: false });
      expect(inside.exitCode).not.toBe(0);
      expect(inside.stderr).toMatch(/snapshot/);
      await sh(
        'virsh snapshot-create-as guest beside --disk-only --no-metadata --diskspec vda,snapshot=external,file=/var/lib/libvirt/images/beside.qcow2',
      );
      await sh('virsh destroy guest');
      // The guest's disk is a file now, which nobody here has filled: said, and not started by mistake.
      const refused = await host().sh('virsh start guest', { reject: false });
      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toMatch(/libvirt-volume-provisioner: .*vda/);
      expect((await statusOf(host(), 'guest')).problems.map(({ code }) => code)).toEqual(['DISK_UNSUITABLE']);
      // Reverted by hand: the volume is as it was, and the guest's own.
      await define(host(), {
        name: 'guest',
        image: 'image.raw',
        uuid: (await sh('virsh domuuid guest')).trim(),
      });
      await expectRight('guest');
      expect(await readTags()).toBe(tags);
    });
  });

  it('that is started by the host when it boots starts at once if it is ready, and else once it is', async () => {
    await sh('virsh autostart guest');
    await define(host(), { name: 'late', image: 'tomorrow.raw' });
    await sh('virsh autostart late; sync');
    await host().poweroff();
    await host().boot();
    await eventually(
      'the ready one runs',
      async () => ((await sh('virsh domstate guest')).trim() === 'running' ? true : undefined),
      { timeoutMs: START_LIMIT_MS },
    );
    expect((await sh('virsh domstate late')).trim()).toBe('shut off');
    await host().putImage(slow, 'tomorrow.raw', { sidecar: true });
    await sh('lvp retry late');
    await eventually(
      'the late one runs',
      async () => ((await sh('virsh domstate late')).trim() === 'running' ? true : undefined),
      { timeoutMs: START_LIMIT_MS },
    );
    await sh('virsh destroy late; virsh destroy guest');
    await expectRight('late', 'late', slow);
    await expectRight('guest');
    await sh(`systemctl restart ${DAEMON}`);
    await expectRight('late', 'late', slow);
    expect((await sh('virsh domstate late')).trim()).toBe('shut off');
  });
});

/**
 * Power cuts at chosen moments of a fill. Goal: whatever was under way, the next boot by itself ends with the
 * right volume under its name, and with every other volume as it was. Method: LVM's one binary is wrapped, so
 * that one call of it can be held for ever just after its metadata commit; then the host is
 * killed and booted again on the same disks.
 *
 * What this cannot show: the disks behind the host are files that outlive it, so a block that has left the
 * kernel is never lost, flushed or not. What still lay in the page cache is lost, as it would be anywhere.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import type { VolumeStatus } from '../../src/core/protocol/control-protocol.ts';
import { eventually, type ShResult } from './host.ts';
import {
  define,
  deviceDigest,
  expectedDigest,
  limitRate,
  limitRateOfAll,
  LVM_WRAPPER,
  privateVolumes,
  published,
  soilFreeSpace,
  statusOf,
  useProvisionedHost,
} from './provisioned-host.ts';

const MIB = 1 << 20;

/** A blank volume made by somebody else is larger than the image, to tell it from one of our own. */
const BLANK_MIB = 96;
const IMAGE_MIB = 64;

/** The power goes just after the LVM call that a shell pattern describes. */
interface Moment {
  readonly name: string;
  readonly cut: string;
}

const OF_A_NEW_VOLUME: readonly Moment[] = [
  { name: 'made', cut: 'lvcreate *lvp-fill-*' },
  { name: 'sealed', cut: 'lvchange *lvp:ready*' },
  { name: 'renamed', cut: 'lvrename vg0 lvp-fill-*' },
];

const OF_AN_ADOPTION: readonly Moment[] = [
  { name: 'marked', cut: 'lvchange *--addtag lvp:adopting*' },
  { name: 'private', cut: 'lvrename vg0 adopted-private lvp-fill-*' },
];

describe('a host whose power is cut', () => {
  const { host, folder } = useProvisionedHost('powercut');
  let qcow2 = '';
  const bystanders = new Map<string, string>();

  beforeAll(async () => {
    const raw = join(folder(), 'source');
    qcow2 = join(folder(), 'cut.qcow2');
    const disk = Buffer.alloc(IMAGE_MIB * MIB);
    for (const offset of [0, 18, 40]) randomBytes(16 * MIB).copy(disk, offset * MIB + 512);
    await writeFile(raw, disk);
    await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2]);
    await host().putImage(qcow2, 'cut.qcow2', { sidecar: true });
    await soilFreeSpace(host(), 512);
    await host().sh(
      `lvcreate --yes --name bystander --size 32M vg0
       dd if=/dev/urandom of=/dev/vg0/bystander bs=1M count=32 oflag=direct status=none
       lvcreate --yes --name blank-bystander --size 32M vg0
       mv /usr/sbin/lvm /usr/lib/lvm-of-the-host
       cat >/usr/sbin/lvm && chmod 755 /usr/sbin/lvm
       virsh pool-refresh guests`,
      { input: LVM_WRAPPER },
    );
    for (const lv of ['bystander', 'blank-bystander'])
      bystanders.set(lv, await deviceDigest(host(), `/dev/vg0/${lv}`));
  });

  async function defineCutDomain(name: string): Promise<void> {
    await define(host(), { name, image: 'cut.qcow2', format: 'qcow2' });
    // What the operator did a while ago is on the disk.
    await host().sh('sync -f /etc/libvirt');
  }

  /** Arms the wrapper, does something, and cuts the power once the call is reached. */
  async function cutAt({ cut }: Moment, doSomething: () => Promise<void>): Promise<void> {
    await host().sh('rm -f /run/cut-reached; cat >/run/cut', { input: `${cut}\n` });
    await doSomething();
    await host().sh('until [ -e /run/cut-reached ]; do sleep 0.05; done', { timeoutMs: 60_000 });
    await cutPower();
  }

  async function cutPower(): Promise<void> {
    await host().kill();
    await host().boot();
  }

  async function makeBlank(lv: string): Promise<void> {
    await host().sh(`virsh vol-create-as guests ${lv} ${BLANK_MIB}M && sync -f /etc/lvm`);
  }

  function gate(name: string): Promise<ShResult> {
    return host().sh(
      `virsh dumpxml ${name} | /etc/libvirt/hooks/qemu.d/50-libvirt-volume-provisioner ${name} prepare begin -`,
      { reject: false },
    );
  }

  /** Nothing is done but to wait: then the volume is right, and everything else is as it was. */
  async function expectRight(name: string, sizeMib: number): Promise<void> {
    await published(host(), name);
    const digest = await deviceDigest(host(), `/dev/vg0/${name}`);
    expect(digest).toBe(await expectedDigest(qcow2, 'qcow2', sizeMib * MIB));
    await eventually('nothing private is left', async () =>
      (await privateVolumes(host())).length === 0 ? true : undefined,
    );
    for (const [lv, before] of bystanders) expect(await deviceDigest(host(), `/dev/vg0/${lv}`)).toBe(before);
    expect(await gate(name)).toMatchObject({ exitCode: 0, stderr: '' });
    const { stdout } = await host().sh(`stat -Lc '%U:%G %a' /dev/vg0/${name}; virsh vol-list guests`);
    expect(stdout).toContain('root:disk 660');
    expect(stdout).toContain(`/dev/vg0/${name}`);
  }

  async function bothAre(what: string, test: (volume: VolumeStatus) => boolean): Promise<void> {
    for (const name of ['flowing-new', 'flowing-adopted']) {
      await eventually(`${name} is ${what}`, async () =>
        (await statusOf(host(), name)).volumes.some(test) ? true : undefined,
      );
    }
  }

  it('while bytes flow into a new volume and into one it took over, fills both again', async () => {
    await makeBlank('flowing-adopted');
    // Slow until both have begun, then quicker, so that neither has ended when both have written something.
    await limitRateOfAll(host(), 0.25);
    for (const name of ['flowing-new', 'flowing-adopted']) await defineCutDomain(name);
    await bothAre('filling', ({ phase }) => phase === 'filling');
    await limitRate(host(), 2);
    await bothAre('written to', ({ bytesDone = 0 }) => bytesDone > 0);
    expect(await privateVolumes(host())).toHaveLength(2);
    await cutPower();
    await expectRight('flowing-new', IMAGE_MIB);
    await expectRight('flowing-adopted', BLANK_MIB);
  });

  it.each(OF_A_NEW_VOLUME)('when its new volume is just $name, ends with it published', async (moment) => {
    const name = `new-${moment.name}`;
    await cutAt(moment, () => defineCutDomain(name));
    await expectRight(name, IMAGE_MIB);
  });

  it.each(OF_AN_ADOPTION)(
    'when the blank volume it takes over is just $name, keeps its size',
    async (moment) => {
      const name = `adopted-${moment.name}`;
      await makeBlank(name);
      await cutAt(moment, () => defineCutDomain(name));
      await expectRight(name, BLANK_MIB);
    },
  );

  it('just after publishing, has lost no byte and does not fill again', async () => {
    await defineCutDomain('finished');
    await host().sh('until [ -e /dev/vg0/finished ]; do sleep 0.02; done', { timeoutMs: 60_000 });
    await cutPower();
    // No program of ours has a say in this: the bytes are there before anybody could fill anything again.
    const { stdout } = await host().sh('lvs --noheadings -o lv_tags vg0/finished');
    expect(stdout).toContain('lvp:ready');
    const fillId = /lvp:fill:([0-9a-f]{16})/.exec(stdout)?.[1];
    expect(await deviceDigest(host(), '/dev/vg0/finished')).toBe(
      await expectedDigest(qcow2, 'qcow2', IMAGE_MIB * MIB),
    );
    expect((await published(host(), 'finished')).volumes[0]?.fillId).toBe(fillId);
    await expectRight('finished', IMAGE_MIB);
  });
});

/**
 * virt-install as people run it: it makes the volume, starts a domain that libvirt has never heard of, and
 * defines it afterwards. The annotation comes from its own --xml options.
 */
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from './host.ts';
import type { ShResult } from './host.ts';
import {
  deviceDigest,
  expectedDigest,
  limitRate,
  privateVolumes,
  published,
  putRandomImages,
  useProvisionedHost,
} from './provisioned-host.ts';

const MIB = 1 << 20;
/** What `size=0.03125` (GiB) makes. */
const VOLUME_BYTES = 32 * MIB;

/** How often a machine may be too busy for an answer before that is a failure. */
const BUSY_TRIES_MAX = 5;

interface Installed {
  readonly name: string;
  /** Value of `--disk`, without the bus. */
  readonly disk: string;
  /** Key in the bucket `images`. */
  readonly image: string;
}

describe('virt-install', () => {
  // A fill, most of it LVM calls, takes this kernel 2 to 5 s instead of half a second; with the tail of a larger
  // volume to be zeroed it is more than the usual grace.
  const { host, folder } = useProvisionedHost('virtinst', 'gate:\n  grace: 15s');

  beforeAll(async () => {
    await putRandomImages(host(), folder(), { 'quick.raw': 1, 'slow.raw': 31 });
  });

  async function virtInstall({ name, disk, image }: Installed): Promise<ShResult> {
    const provision = './metadata/provision';
    const options = [
      ...['--name', name, '--import', '--disk', `${disk},bus=virtio`],
      ...['--virt-type', 'qemu', '--memory', '64', '--osinfo', 'detect=off,require=off'],
      ...['--network', 'none', '--graphics', 'none', '--noautoconsole'],
      ...['--xml', `xpath.create=${provision}`],
      ...['--xml', `${provision}/@xmlns=urn:libvirt-volume-provisioner:domain:1`],
      ...['--xml', `${provision}/volume/@target=vda`],
      ...['--xml', `${provision}/volume/@image=images/${image}`],
      ...['--xml', `${provision}/volume/@format=raw`],
    ];
    for (let tries = 1; ; tries++) {
      const result = await host().sh(`virt-install ${options.join(' ')}`, {
        reject: false,
        timeoutMs: 240_000,
      });
      // On a machine that is very busy the gate may say so, and to try again in a moment.
      if (!result.stderr.includes('could not be read within') || tries === BUSY_TRIES_MAX) return result;
    }
  }

  /** It runs, is defined, and its disk is that volume with the image's bytes and zeros behind them. */
  async function expectInstalled({ name, image }: Installed, result: ShResult, lv = name): Promise<void> {
    expect(result.stdout).toContain('Domain creation completed.');
    expect(result.exitCode).toBe(0);
    const { stdout } = await host().sh(`virsh domstate ${name}; virsh dumpxml --inactive ${name}; lvp list`);
    expect(stdout).toMatch(/^running/);
    expect(stdout).toContain(`<source dev='/dev/vg0/${lv}'/>`);
    expect(stdout.match(new RegExp(`^${name} `, 'gm'))).toHaveLength(1);
    expect(stdout).toMatch(new RegExp(`^${name} +vda +ready +guests/${lv} +images/${image}$`, 'm'));
    // No guest runs while the bytes are looked at.
    await host().sh(`virsh destroy ${name}`);
    expect((await published(host(), name)).volumes).toHaveLength(1);
    expect(await deviceDigest(host(), `/dev/vg0/${lv}`)).toBe(
      await expectedDigest(join(folder(), image), 'raw', VOLUME_BYTES),
    );
    expect(await privateVolumes(host())).toEqual([]);
  }

  it.each([
    ['pool=guests,size=0.03125', 'in-pool'],
    ['path=/dev/vg0/by-path,size=0.03125', 'by-path'],
    ['vol=guests/by-vol', 'by-vol'],
  ])('--disk %s works at once if the fill is shorter than the grace', async (disk, name) => {
    if (disk.startsWith('vol=')) await host().sh(`virsh vol-create-as guests ${name} ${VOLUME_BYTES}`);
    const command = { name, disk, image: 'quick.raw' };
    await expectInstalled(command, await virtInstall(command));
  });

  describe('with a fill longer than the grace', () => {
    const told = /Disk vda is being filled from images\/slow\.raw: \d+ %.*\. Start it again then/;

    beforeEach(async () => {
      await limitRate(host(), 0.375);
    });

    afterEach(async () => {
      await limitRate(host(), undefined);
    });

    async function expectRefused(result: ShResult, reason: string | RegExp = told): Promise<void> {
      expect(result.exitCode).not.toBe(0);
      expect(result.stderr).toMatch(reason);
      expect((await host().sh('virsh list --name')).stdout.trim()).toBe('');
    }

    /** The pace of the bucket is as it should be again, and the fill that was begun ends. */
    async function fillEnds(lv: string): Promise<void> {
      await limitRate(host(), undefined);
      await eventually(
        'the volume is published',
        async () =>
          (await host().sh(`lvs --noheadings -o lv_tags vg0/${lv}`)).stdout.includes('lvp:ready') ||
          undefined,
        { timeoutMs: 120_000, intervalMs: 500 },
      );
    }

    it('says when to try again, and the same command works then, whatever became of its own volume', async () => {
      const name = 'again';
      const command = { name, disk: `path=/dev/vg0/${name},size=0.03125`, image: 'slow.raw' };
      const first = await virtInstall(command);
      await expectRefused(first);
      // It takes away what it has made, but the blank volume is the one being filled by now.
      expect(first.stderr).toContain(`Failed to remove disk '${name}'`);
      // libvirt learns that the name is free: the next try makes a blank volume again, and removes it.
      await host().sh('virsh pool-refresh guests');
      const second = await virtInstall(command);
      expect(second.stdout).toContain(`Removing disk '${name}'`);
      await expectRefused(second);
      expect(await privateVolumes(host())).toHaveLength(1);
      // A blank one that stays is in the way at publish.
      await host().sh(`virsh vol-create-as guests ${name} ${VOLUME_BYTES}`);
      await expectRefused(
        await virtInstall({ ...command, name: 'another' }),
        `Volume vg0/${name} is being filled for domain ${name}`,
      );
      await fillEnds(name);
      await expectInstalled(command, await virtInstall(command));
    });

    it('the same for a volume made before, which has no name meanwhile', async () => {
      const name = 'made-before';
      const command = { name, disk: `vol=guests/${name}`, image: 'slow.raw' };
      await host().sh(`virsh vol-create-as guests ${name} ${VOLUME_BYTES}`);
      await expectRefused(await virtInstall(command));
      await host().sh('virsh pool-refresh guests');
      await expectRefused(await virtInstall(command), `no storage vol with matching name '${name}'`);
      await fillEnds(name);
      await expectInstalled(command, await virtInstall(command));
    });
  });
});

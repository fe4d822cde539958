/**
 * The package on the other releases of Debian that it is for: installed as anybody would, healthy, and the main job
 * on that release's libvirt, LVM and systemd. Everything else is tested on the usual one.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CHECKOUT, program } from '../../packaging/runtime-packages.ts';
import type { Report } from '../../src/doctor/finding.ts';
import { collectLogsOnFailure, Host } from './host.ts';
import {
  configureProvisioner,
  define,
  deviceDigest,
  expectedDigest,
  privateVolumes,
  published,
  soilFreeSpace,
} from './provisioned-host.ts';

const MIB = 1 << 20;
const NAME = 'libvirt-volume-provisioner';
/** A guest starts in a quarter of a minute here. */
const GUEST = { timeoutMs: 300_000 };

/** `libvirt` is the version that the release brings. */
export function testOnRelease(release: string, libvirt: string): void {
  describe(`on Debian ${release}`, () => {
    let booted: Host | undefined;
    let folder = '';
    let image = '';
    const host = (): Host => booted ?? expect.fail('the host did not boot');

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'lvp-'));
      image = join(folder, 'image.qcow2');
      const raw = join(folder, 'image.raw');
      const { stdout: sector } = await execa(join(import.meta.dirname, 'boot-sector'), {
        encoding: 'buffer',
      });
      await writeFile(raw, Buffer.concat([sector, randomBytes(8 * MIB - sector.length)]));
      await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, image]);
      booted = await Host.up(release, { release });
      const options = ['--anonymous', '--compression', 'none', '--output', host().sharedDir];
      await execa(join(CHECKOUT, 'packaging/build'), options);
      await host().putImage(image, 'image.qcow2', { sidecar: true });
    });
    afterAll(async () => {
      await booted?.down();
      await rm(folder, { recursive: true, force: true });
    });
    collectLogsOnFailure(() => booted);

    it('it is installed, and healthy once it is configured', async () => {
      expect((await host().sh('virsh version')).stdout).toContain(`libvirt ${libvirt}`);
      const deb = `/mnt/shared/${NAME}_${program().version}_amd64.deb`;
      await host().sh(`apt-get -y install ${deb} 2>&1`, { timeoutMs: 600_000 });
      await configureProvisioner(host());
      const { stdout: report } = await host().sh('lvp doctor --json', { reject: false });
      const { findings } = JSON.parse(report) as Report;
      expect(findings.filter(({ severity }) => severity === 'fail')).toEqual([]);
      expect((await host().sh('systemctl is-system-running')).stdout).toBe('running');
      // What this release's systemd thinks of the units' rights.
      await host().sh(`systemd-analyze security --threshold=15 ${NAME}.service`);
      await host().sh(`systemd-analyze security --threshold=40 ${NAME}-helper.service`);
    });

    it('it fills a volume before its guest starts, and refuses one that somebody else has filled', async () => {
      await soilFreeSpace(host(), 64);
      await host().sh('lvcreate --yes --name taken --size 8M vg0; echo mine >/dev/vg0/taken');
      for (const name of ['web', 'taken'])
        await define(host(), { name, image: 'image.qcow2', format: 'qcow2' });
      await published(host(), 'web');
      expect(await privateVolumes(host())).toEqual([]);
      expect(await deviceDigest(host(), '/dev/vg0/web')).toBe(await expectedDigest(image, 'qcow2'));
      const { stderr } = await host().sh('virsh start taken', { ...GUEST, reject: false });
      expect(stderr).toContain('not blank');
      expect((await host().sh('head -c 4 /dev/vg0/taken')).stdout).toBe('mine');
    });

    it('a sealed volume starts with the daemon stopped, and everything without the package', async () => {
      await host().sh(`systemctl stop ${NAME}; virsh start web; virsh domstate web | grep -x running`, GUEST);
      await host().sh(`apt-get -y remove ${NAME} 2>&1`, { timeoutMs: 600_000 });
      await host().sh('virsh start taken', GUEST);
      expect((await host().sh('systemctl is-system-running')).stdout).toBe('running');
    });
  });
}

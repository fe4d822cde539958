/**
 * Two hosts on one network, and real migrations between them: with copied storage, where the other host has to
 * be told first; with an encrypted disk; with a volume group that both see; and one that fails half-way. QEMU takes 16 s to start in this
 * kernel, so few guests move, and each of them shows many things.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CONTROL_SOCKET } from '../../src/core/protocol/control-protocol.ts';
import { testEncryptedMigration } from './encrypted-migration.ts';
import { collectLogsOnFailure, eventually, Host } from './host.ts';
import { COPIED, mayStart, migrate, START_LIMIT_MS, stateOf, tagsOf } from './migrating.ts';
import {
  deviceDigest,
  domainXml,
  configureProvisioner,
  privateVolumes,
  published,
  soilFreeSpace,
  statusOf,
} from './provisioned-host.ts';

const MIB = 1 << 20;
/** Enough to be caught half-way at 1 MiB a second. */
const WEB_MIB = 32;
const DAEMON = 'libvirt-volume-provisioner';
const PASSING = 'on-undefine="delete" after-migration="delete"';
const SECOND_DISK = `<disk type='volume' device='disk'>
      <driver name='qemu' type='raw'/><source pool='guests' volume='passing'/><target dev='vdb' bus='virtio'/>
    </disk>
    `;

describe('a guest that moves to another host', () => {
  let source: Host;
  let destination: Host;
  let folder = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lvp-'));
    source = await Host.up('migrate-a', { installed: true });
    destination = await Host.up('migrate-b', { installed: true, peer: source });
    await Promise.all([source, destination].map((host) => configureProvisioner(host, SHARED)));
    // Only one of the two fills what both see.
    await source.sh(
      `sed -i 's/^volume_groups: .*/volume_groups: [vg0, vg1]/' /etc/${DAEMON}/config.yaml
       systemctl restart ${DAEMON}`,
    );
    await Promise.all([source, destination].map(openToOthers));
    const { stdout: sector } = await execa(join(import.meta.dirname, 'boot-sector'), { encoding: 'buffer' });
    const image = join(folder, 'boot.raw');
    await writeFile(image, Buffer.concat([sector, Buffer.alloc(MIB - sector.length)]));
    await source.putImage(image, 'boot.raw', { sidecar: true });
    // The destination could fill it too, and must not.
    await destination.putImage(image, 'boot.raw', { sidecar: true });
    for (const xml of [web, roam])
      await source.sh('cat >/tmp/guest.xml && virsh define /tmp/guest.xml', { input: xml });
  });

  afterAll(async () => {
    // The one that lives in the other's network first.
    await new Host('migrate-b').down();
    await new Host('migrate-a').down();
    await rm(folder, { recursive: true, force: true });
  });
  collectLogsOnFailure(() => source);
  collectLogsOnFailure(() => destination);

  const forth = () => ({ from: source, to: destination });
  const back = () => ({ from: destination, to: source });

  const SHARED = 'shared_volume_groups: [vg1]\n';
  const web = domainXml({ name: 'web', image: 'boot.raw', attributes: `size="${WEB_MIB}MiB"` })
    // A second disk, whose volume is not to stay where it was.
    .replace(
      '</vp:provision>',
      `<vp:volume target="vdb" image="images/boot.raw" format="raw" ${PASSING}/></vp:provision>`,
    )
    .replace('<serial', `${SECOND_DISK}<serial`);
  const roam = domainXml({ name: 'roam', image: 'boot.raw', attributes: PASSING })
    .replace("pool='guests'", "pool='shared'")
    .replace("type='raw'/>", "type='raw' cache='none'/>");

  /**
   * A pool on the group that both see, and a libvirt that other hosts may call: nobody else is on this network.
   * It makes its sockets itself: of those that systemd makes one by one, the first call that comes meanwhile (of
   * libvirt-dbus, say) starts libvirt, which then never hears of the ones that come later.
   */
  async function openToOthers(host: Host): Promise<void> {
    await host.sh(
      `set -e
       printf '%s\\n' 'listen_tls = 0' 'listen_tcp = 1' 'auth_tcp = "none"' >>/etc/libvirt/libvirtd.conf
       echo 'LIBVIRTD_ARGS="--listen"' >>/etc/default/libvirtd
       systemctl stop libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket
       systemctl mask --quiet libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket
       systemctl start libvirtd.service
       virsh pool-define-as shared logical --source-name vg1 --target /dev/vg1
       virsh pool-autostart shared
       virsh pool-start shared`,
    );
  }

  async function startGuest(name: string): Promise<void> {
    await published(source, name);
    await source.sh(`virsh start ${name}`, { timeoutMs: START_LIMIT_MS });
  }

  async function setAside(name: string): Promise<void> {
    const { stdout: handover } = await source.sh(`lvp handover ${name}`);
    await destination.sh('lvp receive', { input: handover });
  }

  async function expectClean(name: string): Promise<void> {
    await eventually(
      `nothing of ${name} is left`,
      async () => {
        const { stdout } = await destination.sh('lvs --noheadings -o lv_name vg0');
        return stdout.trim() === '' ? true : undefined;
      },
      { timeoutMs: 120_000 },
    );
    expect(await stateOf(destination, name)).toBe('unknown');
    expect(await privateVolumes(destination)).toEqual([]);
  }

  let roamSeal: string[] = [];

  describe('with a volume group that both hosts see', () => {
    it('is let at the volume that is sealed for it, which nobody fills again', async () => {
      await startGuest('roam');
      roamSeal = await tagsOf(source, 'vg1/roam');
      const digest = await deviceDigest(source, '/dev/vg1/roam');
      await destination.sh('lvchange --activate y vg1/roam && virsh pool-refresh shared');
      const moved = await migrate('roam', '--live --persistent --undefinesource', forth());
      expect(moved.stderr).toBe('');
      expect(await stateOf(destination, 'roam')).toBe('running');
      await published(destination, 'roam');
      expect(await tagsOf(destination, 'vg1/roam')).toEqual(roamSeal);
      expect(await deviceDigest(destination, '/dev/vg1/roam')).toBe(digest);
    });
  });

  describe('with copied storage', () => {
    let xml = '';
    let digest = '';
    let seal: string[] = [];

    beforeAll(async () => {
      await startGuest('web');
      xml = (await source.sh('virsh dumpxml --inactive web')).stdout;
      // What the guest has written since its first start is in no image.
      const written = randomBytes(3 * MIB);
      await source.sh(
        'dd of=/dev/vg0/web bs=1M seek=20 oflag=direct iflag=fullblock conv=notrunc status=none',
        {
          input: written,
        },
      );
      digest = await deviceDigest(source, '/dev/vg0/web');
      seal = await tagsOf(source, 'vg0/web');
      expect(seal).toContain('lvp:ready');
      await soilFreeSpace(destination, 2 * WEB_MIB);
    });

    it('is refused by a host that has set nothing aside for it, and goes on where it is', async () => {
      const refused = await migrate('web', COPIED, forth());
      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toContain('its volume here is not one that was published for it');
      expect(refused.stderr).toContain('lvp receive');
      expect(await stateOf(source, 'web')).toBe('running');
      await expectClean('web');
    });

    it('finds a volume of zeros there, on which nothing may start', async () => {
      await setAside('web');
      const receiving = seal.map((tag) => (tag === 'lvp:ready' ? 'lvp:receiving' : tag)).toSorted();
      expect(await tagsOf(destination, 'vg0/web')).toEqual(receiving);
      const zeros = `cmp -n ${WEB_MIB * MIB} /dev/vg0/web /dev/zero; stat -Lc '%U:%G %a' /dev/vg0/web`;
      expect((await destination.sh(zeros)).stdout).toBe('root:disk 660');
      expect(await mayStart(destination, xml)).toBe(false);
      await destination.sh(`systemctl kill --signal STOP ${DAEMON}`);
      try {
        expect(await mayStart(destination, xml)).toBe(false);
      } finally {
        await destination.sh(`systemctl kill --signal CONT ${DAEMON}`);
      }
      // What has come together meanwhile is behind it.
      await eventually('the daemon reads volumes again', async () => {
        const { exitCode } = await destination.sh(
          `curl --silent --fail --max-time 5 --unix-socket ${CONTROL_SOCKET} http://daemon/v1/domains`,
          { reject: false },
        );
        return exitCode === 0 ? true : undefined;
      });
    });

    it('that fails half-way runs on where it was, and leaves nothing on the other host', async () => {
      const failing = migrate('web', `${COPIED} --bandwidth 1`, forth());
      await eventually(
        'the bytes arrive',
        async () => {
          const { stdout } = await destination.sh('lvs --noheadings -o lv_device_open vg0/web');
          return stdout.includes('open') && (await stateOf(destination, 'web')) === 'paused'
            ? true
            : undefined;
        },
        { timeoutMs: START_LIMIT_MS },
      );
      // It was let in once. Whoever asks now is not the migration.
      expect(await mayStart(destination, xml)).toBe(false);
      expect(await tagsOf(destination, 'vg0/web')).toContain('lvp:receiving');
      await destination.sh('kill -KILL "$(cat /run/libvirt/qemu/web.pid)"');
      expect((await failing).exitCode).not.toBe(0);
      expect(await stateOf(source, 'web')).toBe('running');
      expect(await tagsOf(source, 'vg0/web')).toEqual(seal);
      await expectClean('web');
      expect((await statusOf(source, 'web')).volumes).toMatchObject([{ state: 'ready' }, { state: 'ready' }]);
    });

    it('arrives with every byte and the same seal, and its old volume is kept', async () => {
      await setAside('web');
      const moved = await migrate('web', COPIED, forth());
      expect(moved.stderr).toBe('');
      expect(moved.exitCode).toBe(0);
      expect(await stateOf(destination, 'web')).toBe('running');
      const there = await published(destination, 'web');
      expect(there.volumes).toMatchObject([{ state: 'ready' }, { state: 'ready' }]);
      expect(await tagsOf(destination, 'vg0/web')).toEqual(seal);
      expect(await deviceDigest(destination, '/dev/vg0/web')).toBe(digest);
      expect(await privateVolumes(destination)).toEqual([]);
      // Whatever the hook had printed would have been taken for the domain's XML.
      expect((await destination.sh('cat /var/log/libvirt/qemu/web.log')).stdout).not.toContain('hook-script');
      expect(await mayStart(destination, xml)).toBe(true);

      expect(await stateOf(source, 'web')).toBe('unknown');
      expect(await tagsOf(source, 'vg0/web')).toEqual(seal);
      expect(await deviceDigest(source, '/dev/vg0/web')).toBe(digest);
    });

    it('does not come back onto the copy that was kept', async () => {
      const refused = await migrate('web', COPIED, back());
      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toContain('its volume vg0/web here is a copy from before');
      expect(await stateOf(destination, 'web')).toBe('running');
      expect(await tagsOf(source, 'vg0/web')).toEqual(seal);
      await destination.sh('virsh destroy web');
    });
  });

  testEncryptedMigration(forth);

  describe('some time later', () => {
    it('a volume is deleted where its guest has left it, if its annotation wants that, and no other', async () => {
      await eventually(
        'the source has deleted it',
        async () => ((await tagsOf(source, 'vg0/passing'))[0] === '' ? true : undefined),
        { timeoutMs: 300_000 },
      );
      expect(await tagsOf(source, 'vg0/web')).toContain('lvp:ready');
      expect(await tagsOf(destination, 'vg0/passing')).toContain('lvp:ready');
    });

    it('a volume that both hosts see is left alone, whatever its annotation says', async () => {
      await eventually(
        'the source has thought of deleting it',
        async () => {
          const { stdout } = await source.sh(
            `journalctl -u ${DAEMON} -o cat | grep -c 'shared with other hosts'; true`,
          );
          return Number(stdout) > 0 ? true : undefined;
        },
        { timeoutMs: 300_000 },
      );
      expect(await stateOf(source, 'roam')).toBe('unknown');
      expect(await tagsOf(source, 'vg1/roam')).toEqual(roamSeal);
    });

    it('a domain moves without running too', async () => {
      await destination.sh('virsh destroy roam');
      const moved = await migrate('roam', '--offline --persistent --undefinesource', back());
      expect(moved.stderr).toBe('');
      expect(await stateOf(source, 'roam')).toBe('shut off');
      await published(source, 'roam');
      expect(await stateOf(destination, 'roam')).toBe('unknown');
      expect(await tagsOf(source, 'vg1/roam')).toEqual(roamSeal);
    });

    it('what the other host is filling is neither seen nor removed', async () => {
      const begun = 'lvcreate --yes --size 4M --name lvp-fill-00000000deadbeef --addtag lvp:filling';
      const tags = `--addtag lvp:fill:00000000deadbeef --addtag lvp:target:other --addtag lvp:domain:${'0'.repeat(8)}-0000-0000-0000-${'0'.repeat(12)}`;
      // Made where nobody would fill it: the source's own daemon is out of the way.
      await source.sh(`systemctl stop ${DAEMON} && ${begun} ${tags} vg1`);
      await destination.sh(
        `lvchange --activate y vg1/lvp-fill-00000000deadbeef; systemctl restart ${DAEMON}`,
      );
      await eventually('the destination has looked', async () => {
        const { stdout } = await destination.sh('lvp list --json', { reject: false });
        return stdout.startsWith('[') ? true : undefined;
      });
      await destination.sh('virsh pool-refresh shared');
      expect(await tagsOf(source, 'vg1/lvp-fill-00000000deadbeef')).toContain('lvp:filling');
      await destination.sh('lvchange --activate n vg1/lvp-fill-00000000deadbeef');
      await source.sh(`systemctl start ${DAEMON}`);
      await eventually(
        'the source has removed it',
        async () => ((await tagsOf(source, 'vg1/lvp-fill-00000000deadbeef'))[0] === '' ? true : undefined),
        { timeoutMs: 120_000 },
      );
    });
  });
});

/**
 * A guest with an encrypted disk moves between two hosts that read keys with an identity each. What crosses the network
 * is no key: each host has it from the key server, or has it not.
 */
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { secretUuid } from '../../src/core/key/secret-name.ts';
import { LUKS_BLANK_HEAD_BYTES, LUKS_HEADER_BYTES } from '../../src/core/volume/volume.ts';
import type { Host } from './host.ts';
import { eventually } from './host.ts';
import type { Key } from './key-server.ts';
import { KeyServer } from './key-server.ts';
import { COPIED, mayStart, migrate, START_LIMIT_MS, stateOf, tagsOf } from './migrating.ts';
import { domainXml, published, soilFreeSpace } from './provisioned-host.ts';

const MIB = 1 << 20;
const SIZE_MIB = 8;
const VOLUME = 'vg0/sealed';
const KEY_FILE = '/dev/shm/key-of-the-test';

/** Inside a describe block whose hosts are up; the image `boot.raw` is in the store of the first. */
export function testEncryptedMigration(hosts: () => { readonly from: Host; readonly to: Host }): void {
  describe('with an encrypted disk', () => {
    let server: KeyServer;
    let key: Key;
    let seal: string[] = [];
    let xml = '';

    const hasSecret = async (host: Host, volume = VOLUME) =>
      (await host.sh('virsh secret-list')).stdout.includes(secretUuid(`/dev/${volume}`));
    const isGone = (host: Host, volume = VOLUME) =>
      eventually('the secret is gone', async () => !(await hasSecret(host, volume)) || undefined);
    const uuidOnDisk = async (host: Host) =>
      (await host.sh(`cryptsetup luksUUID /dev/${VOLUME}`)).stdout.trim();
    const only = (...names: string[]) => server.grant(key, ...names.map((name) => server.reader(name)));

    /** Runs commands while the volume, which no guest has open, is open as /dev/mapper/opened. */
    async function opened(host: Host, commands: string): Promise<string> {
      const { stdout } = await host.sh(
        `set -e; umask 077
         trap 'rm -f ${KEY_FILE}; cryptsetup close opened' EXIT
         cat >${KEY_FILE}; cryptsetup open --key-file=${KEY_FILE} /dev/${VOLUME} opened
         ${commands}`,
        { input: key.payload },
      );
      return stdout;
    }
    const digest = (host: Host) => opened(host, 'sha256sum </dev/mapper/opened');

    /** By what shows that nothing has come: the disk itself, on which ciphertext would not be zero. */
    const expectBlank = (host: Host) =>
      host.sh(`cmp -n ${LUKS_BLANK_HEAD_BYTES} -i ${LUKS_HEADER_BYTES}:0 /dev/${VOLUME} /dev/zero`);

    async function receive(): Promise<{ exitCode: number; stderr: string }> {
      const { from, to } = hosts();
      const { stdout: handover } = await from.sh('lvp handover sealed');
      expect(handover).not.toContain(key.payload);
      return to.sh('lvp receive', { input: handover, reject: false, timeoutMs: START_LIMIT_MS });
    }

    beforeAll(async () => {
      const { from, to } = hosts();
      server = await KeyServer.start(from);
      await server.introduceTo(to);
      await server.serve(from, server.reader('hosta'));
      await server.serve(to, server.reader('hostb'));
      key = await server.createKey('sealed-vda');
      await only('hosta');
      xml = domainXml({
        ...{ name: 'sealed', image: 'boot.raw', key: `barbican:${key.uuid}` },
        attributes: `size="${SIZE_MIB}MiB"`,
      });
      await from.sh('cat >/tmp/guest.xml && virsh define /tmp/guest.xml', { input: xml });
      await published(from, 'sealed');
      xml = (await from.sh('virsh dumpxml --inactive sealed')).stdout;
      seal = await tagsOf(from, VOLUME);
      expect(seal).toContain('lvp:encryption:luks1');
      await soilFreeSpace(to, 64);
    });

    it('gets no volume on a host to which its key is not granted', async () => {
      const refused = await receive();
      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toContain(`read barbican:${key.uuid}`);
      expect(await tagsOf(hosts().to, VOLUME)).toEqual(['']);
    });

    it('finds one with a header of its own where it is granted, and what was soiled is overwritten', async () => {
      const { from, to } = hosts();
      await only('hosta', 'hostb');
      expect((await receive()).stderr).toBe('');
      expect(await uuidOnDisk(to)).not.toBe(await uuidOnDisk(from));
      expect(await mayStart(to, xml)).toBe(false);
      const zeros = await opened(
        to,
        `tail -c +${LUKS_BLANK_HEAD_BYTES + 1} /dev/mapper/opened | tr -d '\\0' | wc -c`,
      );
      expect(zeros.trim()).toBe('0');
      await expectBlank(to);
    });

    it('is refused where the grant was withdrawn meanwhile, and goes on where it is', async () => {
      const { from, to } = hosts();
      // What is in no image, as if the guest had written it.
      await opened(
        from,
        `head -c ${2 * MIB} /dev/urandom | dd of=/dev/mapper/opened bs=1M seek=4 oflag=direct iflag=fullblock status=none`,
      );
      await from.sh('virsh start sealed', { timeoutMs: START_LIMIT_MS });
      await only('hosta');
      const refused = await migrate('sealed', COPIED, { from, to });
      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toContain(`read barbican:${key.uuid}`);
      expect(await stateOf(from, 'sealed')).toBe('running');
      expect(await stateOf(to, 'sealed')).toBe('unknown');
      expect([await hasSecret(from), await hasSecret(to)]).toEqual([true, false]);
    });

    it('that comes without its bytes is not sealed or started there, and is where they are', async () => {
      const { from, to } = hosts();
      await only('hosta', 'hostb');
      expect((await receive()).stderr).toBe('');
      // As by who forgets --copy-storage-all, and believes libvirt that both hosts see the disk.
      const moved = await migrate('sealed', '--live --persistent --unsafe', { from, to });
      expect(moved.stderr).toBe('');
      expect(await stateOf(to, 'sealed')).toBe('running');
      await eventually('it has been looked at', async () => {
        const { stdout } = await to.sh(`journalctl -u libvirt-volume-provisioner -o cat`);
        return stdout.includes('has received nothing') || undefined;
      });
      expect(await tagsOf(to, VOLUME)).toEqual(
        seal.map((tag) => (tag === 'lvp:ready' ? 'lvp:receiving' : tag)).toSorted(),
      );
      await to.sh('virsh destroy sealed');
      await isGone(to);
      expect(await mayStart(to, xml)).toBe(false);
      await expectBlank(to);
      await to.sh('virsh undefine sealed; virsh vol-delete sealed guests');
      expect(await tagsOf(from, VOLUME)).toEqual(seal);
      await from.sh('virsh start sealed', { timeoutMs: START_LIMIT_MS });
    });

    it('arrives with every byte under a key that the other host has fetched itself, and its old secret is gone', async () => {
      const { from, to } = hosts();
      await only('hosta', 'hostb');
      expect((await receive()).stderr).toBe('');
      const moved = await migrate('sealed', COPIED, { from, to });
      expect(moved.stderr).toBe('');
      expect(moved.exitCode).toBe(0);
      expect(await stateOf(to, 'sealed')).toBe('running');
      expect(await hasSecret(to)).toBe(true);
      await isGone(from);
      await published(to, 'sealed');
      expect(await tagsOf(to, VOLUME)).toEqual(seal);
      expect(await uuidOnDisk(to)).not.toBe(await uuidOnDisk(from));
    });

    it('is not started where it was once the grant is withdrawn there', async () => {
      const { from } = hosts();
      await only('hostb');
      await from.sh('cat >/tmp/guest.xml && virsh define /tmp/guest.xml', { input: xml });
      const refused = await from.sh('virsh start sealed', { reject: false, timeoutMs: START_LIMIT_MS });
      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toContain(`read barbican:${key.uuid}`);
      expect(await hasSecret(from)).toBe(false);
      await from.sh('virsh undefine sealed');
    });

    it('is not restored elsewhere from what was saved of it, in which no key is', async () => {
      const { from, to } = hosts();
      await to.sh('virsh save sealed /var/tmp/sealed.saved', { timeoutMs: START_LIMIT_MS });
      expect(
        (await to.sh(`grep -caF -f - /var/tmp/sealed.saved`, { input: key.payload, reject: false })).stdout,
      ).toBe('0');
      await isGone(to);
      await to.sh('cp /var/tmp/sealed.saved /mnt/shared/');
      await copyFile(join(to.sharedDir, 'sealed.saved'), join(from.sharedDir, 'sealed.saved'));
      await from.sh('cp /mnt/shared/sealed.saved /var/tmp/');
      const refused = await from.sh('virsh restore /var/tmp/sealed.saved', {
        ...{ reject: false, timeoutMs: START_LIMIT_MS },
      });
      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toContain(`read barbican:${key.uuid}`);
      expect(await stateOf(from, 'sealed')).toBe('unknown');
      // Nobody has either open now.
      expect(await digest(to)).toBe(await digest(from));
    });

    describe('on storage that both hosts see', () => {
      const SHARED = 'vg1/roving';
      const LIVE = '--live --persistent --undefinesource';
      let roving: Key;
      let rovingSeal: string[] = [];

      beforeAll(async () => {
        const { from, to } = hosts();
        roving = await server.createKey('roving-vda');
        await server.grant(roving, server.reader('hosta'));
        const shared = domainXml({
          ...{ name: 'roving', pool: 'others', image: 'boot.raw', key: `barbican:${roving.uuid}` },
          attributes: `size="${SIZE_MIB}MiB"`,
        })
          .replace("pool='others'", "pool='shared'")
          .replace("type='raw'/>", "type='raw' cache='none'/>");
        await from.sh('cat >/tmp/guest.xml && virsh define /tmp/guest.xml', { input: shared });
        await published(from, 'roving');
        rovingSeal = await tagsOf(from, SHARED);
        await from.sh('virsh start roving', { timeoutMs: START_LIMIT_MS });
        await to.sh(`lvchange --activate y ${SHARED} && virsh pool-refresh shared`);
      });

      it('does not go where its key is not granted', async () => {
        const { from, to } = hosts();
        const refused = await migrate('roving', LIVE, { from, to });
        expect(refused.exitCode).not.toBe(0);
        expect(refused.stderr).toContain(`read barbican:${roving.uuid}`);
        expect([await stateOf(from, 'roving'), await stateOf(to, 'roving')]).toEqual(['running', 'unknown']);
        expect([await hasSecret(from, SHARED), await hasSecret(to, SHARED)]).toEqual([true, false]);
      });

      it('goes where it is, with the same volume, and its old secret is gone', async () => {
        const { from, to } = hosts();
        await server.grant(roving, server.reader('hosta'), server.reader('hostb'));
        const moved = await migrate('roving', LIVE, { from, to });
        expect(moved.stderr).toBe('');
        expect([await stateOf(from, 'roving'), await stateOf(to, 'roving')]).toEqual(['unknown', 'running']);
        expect(await hasSecret(to, SHARED)).toBe(true);
        await isGone(from, SHARED);
        expect(rovingSeal).toContain('lvp:encryption:luks1');
        expect(await tagsOf(to, SHARED)).toEqual(rovingSeal);
        await to.sh('virsh destroy roving');
        await isGone(to, SHARED);
      });
    });
  });
}

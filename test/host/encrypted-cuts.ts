/**
 * Goal: wherever the power is cut in an encrypted fill, no byte of the image is on the volume as it was, nobody but root
 * has it, its final name stands for what is sealed and opened by the annotated key, and the fill goes on and ends by
 * itself. Method: one call of cryptsetup or LVM is held for ever; then the power is cut; the daemon does not start with
 * the host, so that what it finds is looked at first.
 */
import { createHash, randomBytes } from 'node:crypto';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { When } from './cutting.ts';
import { cutWhenHeld, holdAt } from './cutting.ts';
import { eventually, type Host } from './host.ts';
import { sectorsOf } from './key-traces.ts';
import type { TestDomain } from './provisioned-host.ts';
import { beginSlowFill, define, limitRate, privateVolumes, published } from './provisioned-host.ts';

const MIB = 1 << 20;
const IMAGE_MIB = 4;
/** More than a fill fetches twice, so that it keeps a journal. */
const LARGE_MIB = 80;
const DAEMON = 'libvirt-volume-provisioner';
const LIMIT_MS = 180_000;
const asService = `setpriv --reuid ${DAEMON} --regid ${DAEMON} --init-groups`;

interface Cut {
  readonly name: string;
  readonly when: When;
  readonly call: string;
  /** The name that the volume has then. */
  readonly found: 'private' | 'final';
  readonly thin?: boolean;
}

const CUTS: readonly Cut[] = [
  { name: 'unformatted', when: 'before', call: 'cryptsetup luksFormat *', found: 'private' },
  { name: 'formatted', when: 'after', call: 'cryptsetup luksFormat *', found: 'private' },
  { name: 'opened', when: 'after', call: 'cryptsetup open *lvp-crypt-*', found: 'private' },
  { name: 'written', when: 'before', call: 'cryptsetup close *', found: 'private' },
  { name: 'closed', when: 'after', call: 'cryptsetup close *', found: 'private' },
  { name: 'unsealed', when: 'before', call: 'lvchange *lvp:ready*', found: 'private' },
  { name: 'sealed', when: 'after', call: 'lvchange *lvp:ready*', found: 'private' },
  { name: 'named', when: 'after', call: 'lvrename *', found: 'final' },
  { name: 'thin-named', when: 'after', call: 'lvrename *', found: 'final', thin: true },
];

/** Inside a describe block whose host is up, with cryptsetup and lvm that can be held. */
export function testCutFills(host: () => Host, folder: () => string): void {
  describe('an encrypted fill', () => {
    const sh = async (command: string) =>
      (await host().sh(`set -e; ${command}`, { timeoutMs: LIMIT_MS })).stdout;
    const digests = new Map<string, string>();
    const keyOf = (name: string) =>
      sh(
        `systemd-creds decrypt --name=lvp-key-${name} /var/lib/libvirt-volume-provisioner-keys/${name}.cred -`,
      );
    const tagsOf = (lv: string) => sh(`lvs --noheadings -o lv_tags vg0/${lv}`);
    const domainOf = ({ name, thin = false }: Pick<Cut, 'name' | 'thin'>, image: string): TestDomain => ({
      ...{ name, image, key: `file:${name}` },
      ...(thin && { device: `/dev/vg0/${name}` }),
    });

    beforeAll(async () => {
      for (const [image, sizeMib] of [
        ['small.raw', IMAGE_MIB],
        ['large.raw', LARGE_MIB],
      ] as const) {
        const bytes = randomBytes(sizeMib * MIB);
        const path = join(folder(), image);
        await writeFile(path, bytes);
        await copyFile(path, join(host().sharedDir, image));
        await host().putImage(path, image, { sidecar: true });
        digests.set(image, createHash('sha256').update(bytes).digest('hex'));
      }
      await sh(
        `lvcreate -qq --yes --type thin-pool --size 128M --name pool0 vg0
         printf 'thin_pools: {vg0: pool0}\\n' >>/etc/${DAEMON}/config.yaml
         systemctl restart ${DAEMON}; systemctl disable --quiet ${DAEMON}; sync -f /etc`,
      );
    });

    // One that has failed before that keeps no other from being tried.
    afterEach(() => sh(`systemctl start ${DAEMON}`));

    /** Before anybody goes on with it. */
    async function expectSafe({ name, found }: Cut, image: string): Promise<void> {
      const [hidden] = (await privateVolumes(host())).filter((lv) => lv.startsWith('lvp-fill-'));
      const { stdout: named } = await host().sh(`lvs --noheadings -o lv_name vg0/${name} 2>/dev/null`, {
        reject: false,
      });
      expect([hidden === undefined, named.trim()]).toEqual(found === 'private' ? [false, ''] : [true, name]);
      const lv = hidden ?? name;
      const device = `/dev/vg0/${lv}`;
      if (found === 'final') {
        const tags = await tagsOf(name);
        expect(tags).toContain('lvp:ready');
        expect(tags).toContain('lvp:encryption:luks1');
        await host().sh(`cryptsetup open --test-passphrase --key-file=- ${device}`, {
          input: await keyOf(name),
        });
      }
      const opened = await host().sh(`${asService} dd if=${device} of=/dev/null count=1`, { reject: false });
      expect(opened.stderr).toContain('Permission denied');
      expect(await sh(`stat -Lc %U ${device}; ls /dev/mapper`)).toMatch(/^root\n(?![^]*lvp-crypt-)/);
      await expectCiphertext(name, image, device);
    }

    async function expectCiphertext(name: string, image: string, device: string): Promise<void> {
      const looked = await sectorsOf(host(), {
        ...{ key: await keyOf(name), image: `/mnt/shared/${image}`, device },
      });
      expect(looked).toMatchObject({ image: 0, key: 0 });
      expect(looked.known).toBeGreaterThanOrEqual((IMAGE_MIB * MIB) / 512);
    }

    async function expectFinished(name: string, image: string, imageMib: number): Promise<void> {
      await sh(`systemctl start ${DAEMON}`);
      await published(host(), name);
      const { stdout } = await host().sh(
        `set -e
         cryptsetup open --readonly --key-file=- /dev/vg0/${name} probe
         head -c ${imageMib * MIB} /dev/mapper/probe | sha256sum
         tail -c +${imageMib * MIB + 1} /dev/mapper/probe | tr -d '\\0' | wc -c
         cryptsetup close probe
         ls /dev/mapper /dev/vg0 | grep -c 'lvp-' || true
         stat -Lc '%U:%G %a' /dev/vg0/${name}`,
        { input: await keyOf(name), timeoutMs: LIMIT_MS },
      );
      expect(stdout.trim().split('\n')).toEqual([`${digests.get(image)}  -`, '0', '0', 'root:disk 660']);
      await expectCiphertext(name, image, `/dev/vg0/${name}`);
    }

    it.each(CUTS)('$name, has left no plaintext, and ends well: the power cut $when "$call"', async (cut) => {
      await sh(`lvp key create file:${cut.name}`);
      await holdAt(host(), cut.when, cut.call);
      await define(host(), domainOf(cut, 'small.raw'));
      await sh('sync -f /etc/libvirt');
      await cutWhenHeld(host());
      await expectSafe(cut, 'small.raw');
      await expectFinished(cut.name, 'small.raw', IMAGE_MIB);
    });

    it('goes on behind the same header when the power is cut in the middle of the image', async () => {
      const cut = { name: 'half', found: 'private' } as const;
      await sh(`lvp key create file:${cut.name}`);
      await beginSlowFill(host(), domainOf(cut, 'large.raw'));
      await limitRate(host(), 8);
      await eventually('there is a journal', async () => {
        const { stdout } = await host().sh(`ls /var/lib/${DAEMON}/journals`);
        return stdout === '' ? undefined : true;
      });
      const [hidden = expect.fail('no private volume')] = await privateVolumes(host());
      const headerOf = (lv: string) => sh(`cryptsetup luksUUID /dev/vg0/${lv}`);
      const before = await headerOf(hidden);
      await sh('sync -f /etc/libvirt');
      await host().kill();
      await host().boot();
      await expectSafe({ ...cut, when: 'after', call: '' }, 'large.raw');
      await expectFinished(cut.name, 'large.raw', LARGE_MIB);
      expect(await headerOf(cut.name)).toBe(before);
      expect(await sh(`journalctl -b -u ${DAEMON} -o cat`)).toContain('the interrupted fill goes on');
    });
  });
}

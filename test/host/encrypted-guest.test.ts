/**
 * The main job on an encrypted disk, with a key of a real key server: from the key that management makes and cannot read
 * to a guest that runs; what a key server that fails, and a key that is another one, do to starts and to running guests;
 * and that the key stands nowhere else.
 */
import { randomBytes } from 'node:crypto';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import { secretUuid } from '../../src/core/key/secret-name.ts';
import { LUKS_HEADER_BYTES } from '../../src/core/volume/volume.ts';
import { eventually } from './host.ts';
import { BARBICAN_URL, type Key, KeyServer } from './key-server.ts';
import { placesInMemory, sectorsOf, tracesOf } from './key-traces.ts';
import {
  beginSlowFill,
  define,
  deviceDigest,
  expectedDigest,
  failureOf,
  limitRate,
  privateVolumes,
  published,
  putRandomImages,
  soilFreeSpace,
  useProvisionedHost,
} from './provisioned-host.ts';

const MIB = 1 << 20;
const SIZE_MIB = 40;
const DAEMON = 'libvirt-volume-provisioner';
const START_LIMIT_MS = 300_000;
/** In memory, and there for as long as one command needs it. */
const KEY_FILE = '/dev/shm/key-of-the-test';
/** What was changed before is of no interest. */
const MARK = '/root/before-the-keys';
const SAVED = '/var/lib/libvirt/qemu/save/guest.saved';

describe('a guest with a key of the key server', () => {
  const { host, folder } = useProvisionedHost('encryptedguest');
  const sh = async (command: string) => (await host().sh(command, { timeoutMs: START_LIMIT_MS })).stdout;
  const state = async (name: string) => (await sh(`virsh domstate ${name}`)).trim();
  const hasSecret = async (name: string) =>
    (await sh('virsh secret-list')).includes(secretUuid(`/dev/vg0/${name}`));
  const IMAGE = '/mnt/shared/boots.raw';
  let server: KeyServer;
  let image = '';
  let key: Key;

  /** As people do it, with credentials of their own; the key itself is shown to nobody, but to the operator. */
  async function makeKey(name: string): Promise<Key> {
    const environment = server.environmentOf(server.management);
    const { userId } = server.reader('hosta');
    const made = await host().sh(
      `${environment}; lvp key create --url ${BARBICAN_URL} --name ${name} && lvp key list --url ${BARBICAN_URL}`,
    );
    const uuid = /barbican:([0-9a-f-]{36})/.exec(made.stdout)?.[1] ?? expect.fail(made.stdout);
    await host().sh(`${environment}; lvp key grant --url ${BARBICAN_URL} barbican:${uuid} ${userId}`);
    const unread = { ref: `${BARBICAN_URL}/v1/secrets/${uuid}`, uuid, payload: '' };
    expect((await server.read(unread, server.management)).status).toBe(403);
    expect((await server.read(unread, server.reader('hostb'))).status).toBe(403);
    const { status, body } = await server.read(unread, server.operator);
    expect(status).toBe(200);
    expect(made.stdout).not.toContain(body);
    return { ...unread, payload: body };
  }

  /** With the key in a file of the host, while this one command runs. */
  async function withKeyFile(command: string, of = key): Promise<string> {
    const { stdout } = await host().sh(
      `set -e; umask 077; trap 'rm -f ${KEY_FILE}' EXIT; cat >${KEY_FILE}; ${command}`,
      { input: of.payload, timeoutMs: START_LIMIT_MS },
    );
    return stdout;
  }

  /** What whoever pressed start is told, while somebody else asks libvirt for its domains. */
  async function refusal(name: string): Promise<string> {
    const { stdout } = await host().sh(
      `virsh start ${name} >/run/refusal 2>&1 & start=$!
       timeout 60 virsh list --name || echo 'virsh list has not answered'
       wait $start && echo started
       cat /run/refusal`,
      { timeoutMs: START_LIMIT_MS },
    );
    expect(stdout).not.toMatch(/has not answered|^started/m);
    expect(stdout).toMatch(/^guest$/m);
    expect(await state(name)).toBe('shut off');
    return stdout;
  }

  beforeAll(async () => {
    const { stdout: sector } = await execa(join(import.meta.dirname, 'boot-sector'), { encoding: 'buffer' });
    image = join(folder(), 'boots.raw');
    const disk = Buffer.alloc(24 * MIB);
    for (const offset of [0, 9, 19]) randomBytes(3 * MIB).copy(disk, offset * MIB);
    sector.forEach((byte, at) => disk.writeUInt8(byte, at));
    await writeFile(image, disk);
    await host().putImage(image, 'boots.raw', { sidecar: true });
    await copyFile(image, join(host().sharedDir, 'boots.raw'));
    await putRandomImages(host(), folder(), { 'slow.raw': 64 });
    server = await KeyServer.start(host());
    await server.serve(host(), server.reader('hosta'));
    await sh(`touch ${MARK}`);
    key = await makeKey('guest-vda');
    await soilFreeSpace(host(), 256);
    await define(host(), {
      ...{ name: 'guest', image: 'boots.raw', attributes: `size="${SIZE_MIB}MiB"` },
      key: `barbican:${key.uuid}`,
    });
    await published(host(), 'guest');
  });

  it('has a volume with a header and ciphertext to its end, and neither bytes of the image nor the key', async () => {
    expect(await sh('lvs --noheadings -o lv_tags vg0/guest')).toContain('lvp:encryption:luks1');
    expect(await privateVolumes(host())).toEqual([]);
    const about = { key: key.payload, image: IMAGE, fromBytes: LUKS_HEADER_BYTES };
    expect(await sectorsOf(host(), { ...about, device: '/dev/vg0/guest' })).toMatchObject({
      ...{ known: (9 * MIB) / 512, image: 0, zero: 0, key: 0 },
    });
    // So they would be found.
    expect(await sectorsOf(host(), { ...about, device: IMAGE })).toMatchObject({ image: (9 * MIB) / 512 });
    const soiled = await host().sh(String.raw`LC_ALL=C grep -caP '\xa5{64}' /dev/vg0/guest`, {
      reject: false,
    });
    expect(soiled.stdout).toBe('0');
  });

  it('has a header of which cryptsetup and QEMU say the same', async () => {
    const dump = await sh('cryptsetup luksDump /dev/vg0/guest');
    const said = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(dump)?.[1];
    const info = JSON.parse(
      await withKeyFile(
        `qemu-img info --output=json --object secret,id=k,file=${KEY_FILE} --image-opts driver=luks,key-secret=k,file.driver=host_device,file.filename=/dev/vg0/guest`,
      ),
    ) as {
      'virtual-size': number;
      'format-specific': { data: Record<string, unknown> & { slots: { active: boolean }[] } };
    };
    const { data } = info['format-specific'];
    expect(data).toMatchObject({
      ...{ 'cipher-alg': 'aes-256', 'cipher-mode': 'xts', 'ivgen-alg': 'plain64', 'hash-alg': 'sha256' },
      ...{ uuid: said('UUID'), 'payload-offset': Number(said('Payload offset')) * 512 },
    });
    expect([
      said('Version'),
      said('Cipher name'),
      said('Cipher mode'),
      said('Hash spec'),
      said('MK bits'),
    ]).toEqual(['1', 'aes', 'xts-plain64', 'sha256', '512']);
    expect(data['payload-offset']).toBe(LUKS_HEADER_BYTES);
    expect(data.slots.filter(({ active }) => active)).toHaveLength(1);
    expect(dump.match(/^Key Slot \d: ENABLED$/gm)).toHaveLength(1);
    const size = Number(await sh('blockdev --getsize64 /dev/vg0/guest'));
    expect(info['virtual-size']).toBe(size - LUKS_HEADER_BYTES);
    expect(info['virtual-size']).toBeGreaterThanOrEqual(SIZE_MIB * MIB);
  });

  it('reads the image and zeros behind it, through dm-crypt and through QEMU, as from a plain volume', async () => {
    await define(host(), { name: 'plain', image: 'boots.raw', attributes: `size="${SIZE_MIB}MiB"` });
    await published(host(), 'plain');
    await withKeyFile(`cryptsetup open --readonly --key-file=${KEY_FILE} /dev/vg0/guest opened`);
    const size = Number(await sh('blockdev --getsize64 /dev/mapper/opened'));
    expect(await deviceDigest(host(), '/dev/mapper/opened')).toBe(await expectedDigest(image, 'raw', size));
    const compared = await sh(
      `cmp -n ${SIZE_MIB * MIB} /dev/vg0/plain /dev/mapper/opened && echo same; cryptsetup close opened`,
    );
    expect(compared).toBe('same');
    const luks = `driver=luks,key-secret=k,file.driver=host_device,file.filename=/dev/vg0/guest`;
    const raw = `driver=raw,file.driver=host_device,file.filename=/dev/vg0/plain`;
    const asQemuSees = await withKeyFile(
      `qemu-img compare --object secret,id=k,file=${KEY_FILE} --image-opts ${luks} ${raw}`,
    );
    expect(asQemuSees).toContain('Images are identical');
  });

  it('boots', async () => {
    expect(await hasSecret('guest')).toBe(false);
    await sh('virsh start guest');
    await eventually('the guest speaks', async () => {
      const serial = await sh('cat /var/log/libvirt/qemu/guest-serial.log');
      return serial.includes('LVP-BOOT-OK') || undefined;
    });
    expect(await hasSecret('guest')).toBe(true);
  });

  it('has no image on its volume in the middle of a fill, and is not published when the key becomes another one', async () => {
    const [own, other] = [await makeKey('slow-vda'), await server.createKey('somebody-else')];
    await copyFile(join(folder(), 'slow.raw'), join(host().sharedDir, 'slow.raw'));
    try {
      await beginSlowFill(host(), { name: 'slow', image: 'slow.raw', key: `barbican:${own.uuid}` });
      const [device = expect.fail('no private volume')] = await privateVolumes(host());
      const looked = await sectorsOf(host(), {
        ...{ key: own.payload, image: '/mnt/shared/slow.raw', device: `/dev/vg0/${device}` },
      });
      expect(looked).toMatchObject({ known: (64 * MIB) / 512, image: 0, key: 0 });
      await server.swap(own, other);
    } finally {
      await limitRate(host(), undefined);
    }
    expect(await failureOf(host(), 'slow')).toMatchObject({ code: 'KEY_WRONG' });
    expect((await host().sh('test -e /dev/vg0/slow', { reject: false })).exitCode).toBe(1);
    await sh('virsh undefine slow');
    await eventually('nothing private is left', async () =>
      (await privateVolumes(host())).length === 0 ? true : undefined,
    );
  });

  describe('whose key server fails', () => {
    let second: Key;
    beforeAll(async () => {
      second = await makeKey('second-vda');
      await define(host(), { name: 'second', image: 'boots.raw', key: `barbican:${second.uuid}` });
      await published(host(), 'second');
    });

    it.each([
      [
        'Barbican is stopped',
        () => server.stop('barbican'),
        () => server.restart(),
        /keys\.test:9311 cannot be asked/,
      ],
      [
        'Barbican is frozen',
        () => server.freeze('barbican'),
        () => server.thaw('barbican'),
        /could not be read within|no answer within|no connection within/,
      ],
      [
        'it shows the certificate of another authority',
        () => server.useCertificate('other-authority'),
        () => server.useCertificate('right'),
        /certificate of keys\.test:\d+ is not trusted/,
      ],
      [
        'it shows a certificate for another name',
        () => server.useCertificate('other-name'),
        () => server.useCertificate('right'),
        /certificate of keys\.test:\d+ is not trusted/,
      ],
      [
        'it shows an expired certificate',
        () => server.useCertificate('expired'),
        () => server.useCertificate('right'),
        /certificate of keys\.test:\d+ is not valid now/,
      ],
      [
        'the grant is withdrawn',
        () => server.revoke(second),
        () => server.grant(second, server.reader('hosta')),
        /does not let this host \(user [0-9a-f]+\) read barbican:/,
      ],
    ] as const)('is not started while %s, and the running one goes on', async (_what, fail, mend, reason) => {
      await fail();
      try {
        const told = await refusal('second');
        expect(told).toMatch(reason);
        expect(told).toContain('Disk vda');
        expect(await hasSecret('second')).toBe(false);
        expect([await state('guest'), await hasSecret('guest')]).toEqual(['running', true]);
      } finally {
        await mend();
      }
    });

    it('is not started with a key that opens another volume, and is with its own, whatever tokens the host had', async () => {
      const [other, own] = [
        await server.createKey('another'),
        await server.createKey('its-own', second.payload),
      ];
      await server.swap(second, other);
      expect(await refusal('second')).toMatch(
        /Disk vda: The key does not open the encrypted volume vg0\/second/,
      );
      expect(await hasSecret('second')).toBe(false);
      await server.swap(second, own);
      await server.forgetTokens();
      // It has just been started, and needs longer for its first answer than a start waits.
      await server.read(second, server.operator);
      await sh('virsh start second');
      expect([await state('second'), await hasSecret('second')]).toEqual(['running', true]);
      await sh('virsh destroy second');
      await eventually('its secret is gone', async () => !(await hasSecret('second')) || undefined);
    });
  });

  it('is saved without its key, and restored only where that is granted', async () => {
    await sh(`virsh save guest ${SAVED}`);
    await eventually('its secret is gone', async () => !(await hasSecret('guest')) || undefined);
    await server.revoke(key);
    const refused = await host().sh(`virsh restore ${SAVED}`, { reject: false, timeoutMs: START_LIMIT_MS });
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toContain(`read barbican:${key.uuid}`);
    expect(await state('guest')).toBe('shut off');
    await server.grant(key, server.reader('hosta'));
    // Restored, this file would be gone with what might stand in it.
    await sh(`cp --sparse=always ${SAVED} /var/lib/libvirt/qemu/save/guest.copy; virsh restore ${SAVED}`);
    expect([await state('guest'), await hasSecret('guest')]).toEqual(['running', true]);
  });

  it('leaves it in the memory of libvirtd, and not in that of the daemon', async () => {
    const pidOf = (unit: string) => sh(`systemctl show --property MainPID --value ${unit}`);
    // Read and handed over anew.
    await sh('systemctl restart libvirtd');
    await eventually('set again', async () => (await hasSecret('guest')) || undefined);
    const [libvirtd, daemon] = [await pidOf('libvirtd'), await pidOf(DAEMON)];
    await eventually('the daemon has it no longer', async () => {
      const places = await placesInMemory(host(), key.payload, [libvirtd, daemon]);
      // So it would be found.
      expect(places.get(libvirtd)).not.toEqual([]);
      // It is read from time to time, to see whether it is still granted, and may be there in that very moment.
      expect(places.get(daemon)).toEqual([]);
      return true;
    });
  });

  it('leaves its key nowhere: no file, journal, process, XML, nor answer of the bus; not when the daemon crashes either', async () => {
    // A crash would leave a file, if it were let.
    await sh(`echo /var/tmp/core.%e >/proc/sys/kernel/core_pattern
      systemctl kill --kill-whom=main --signal=ABRT ${DAEMON}`);
    await eventually('the daemon is back', async () => {
      await sh('lvp list');
      return true;
    });
    expect(await state('guest')).toBe('running');
    expect(await sh('ls /var/tmp')).not.toContain('core.');
    const traces = await tracesOf(host(), key.payload, MARK);
    expect(traces).toMatchObject({ found: [], swaps: 0 });
    expect(traces.secrets).toBeGreaterThanOrEqual(1);
    // So it would be found: in a file, as base64, in an environment.
    await withKeyFile(
      `base64 -w 0 ${KEY_FILE} >/var/log/left-behind
       left=$(cat ${KEY_FILE})
       LEFT=$left setsid sleep 1000 >/dev/null 2>&1 & echo $! >/run/left-behind.pid`,
    );
    const planted = await tracesOf(host(), key.payload, MARK);
    const pid = (
      await sh('cat /run/left-behind.pid; kill $(cat /run/left-behind.pid); rm /var/log/left-behind')
    ).trim();
    expect(planted.found).toEqual(expect.arrayContaining(['/var/log/left-behind', `/proc/${pid}/environ`]));
  });
});

/**
 * Goal: the root helper, as systemd starts it and with its unit's restrictions, makes, takes over, publishes and
 * removes exactly the volumes it may, on a real LVM with udev. Method: request lines to its socket; then LVM,
 * the nodes and the service user are asked what is so.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HelperRequest, HelperResponse } from '../../src/core/protocol/helper-protocol.ts';
import type { Seal } from '../../src/core/volume/volume.ts';
import { fillTags, mappingName, privateName, sealTags } from '../../src/core/volume/volume.ts';
import { askForKey, askHelper, HELPER_SOCKET, prepareToAsk } from './ask-helper.ts';
import { collectLogsOnFailure, Host } from './host.ts';

const USER = 'libvirt-volume-provisioner';

/** An md superblock as mdadm writes it: version 1.0 lies at the end of the device, 1.2 at 4 KiB. */
const MD_SUPERBLOCK = `
import os, struct, sys
path, version = sys.argv[1:]
fd = os.open(path, os.O_RDWR)
sectors = os.lseek(fd, 0, 2) // 512
at = {'1.0': (sectors - 16) & ~7, '1.2': 8}[version]
block = bytearray(384)
struct.pack_into('<II', block, 0, 0xa92b4efc, 1)
block[16:32] = bytes(range(16)); block[32:37] = b'x:md0'
struct.pack_into('<QIIQIIII', block, 64, 0, 1, 0, sectors - 32, 0, 2, 0, 0)
struct.pack_into('<QQQ', block, 128, 0, sectors - 32, at)
struct.pack_into('<I', block, 220, 64)
total = sum(struct.unpack('<96I', block))
struct.pack_into('<I', block, 216, ((total & 0xffffffff) + (total >> 32)) & 0xffffffff)
os.pwrite(fd, bytes(block), at * 512); os.fsync(fd)
`;

let host: Host | undefined;
collectLogsOnFailure(() => host);

async function sh(script: string): Promise<string> {
  if (host === undefined) throw new Error('no host');
  return (await host.sh(`set -euo pipefail; ${script}`)).stdout;
}

async function ask(
  request: HelperRequest | Record<string, unknown>,
  keys: readonly string[] = [],
): Promise<HelperResponse> {
  if (host === undefined) throw new Error('no host');
  return askHelper(host, request, keys);
}

/** The answer to a request that must succeed. */
async function done(request: HelperRequest): Promise<unknown> {
  const response = await ask(request);
  if (!response.ok) throw new Error(`${request.verb}: ${response.problem.message}`);
  return response.result;
}

let fills = 0;
function newVolume(target: string) {
  fills += 1;
  const fillId = fills.toString(16).padStart(16, '0');
  return { vg: 'vg1', fillId, target, domainUuid: '11111111-2222-3333-4444-555555555555' };
}

function sealOf(volume: ReturnType<typeof newVolume>): Seal {
  const { fillId, target, domainUuid } = volume;
  const content = { image: 'images/debian#20.qcow2', sha256: 'ab'.repeat(32), generation: 1 };
  return { state: 'ready', fillId, target, domainUuid, ...content };
}

const nodeOf = (lv: string): Promise<string> => sh(`stat -L -c '%U:%G %a' /dev/vg1/${lv}`);
const tagsOf = async (lv: string): Promise<string[]> =>
  (await sh(`lvs --noheadings -o lv_tags vg1/${lv}`)).trim().split(',').sort();
const namesIn = async (vg: string): Promise<string[]> =>
  (await sh(`lvs --noheadings -o lv_name ${vg}`)).split(/\s+/).filter((name) => name !== '');
/** Everything LVM records, to show that a refusal has changed nothing. */
const recordOf = (lv: string): Promise<string> =>
  sh(`lvs --noheadings -o lv_name,lv_uuid,lv_tags,lv_size vg1/${lv}; stat -L -c '%U:%G %a' /dev/vg1/${lv}`);
/** A new LV that is zero from end to end, whatever was in its place before. */
const zeroed = (lv: string, sizeMib = 32): Promise<string> =>
  sh(
    `lvcreate -qq --yes --size ${sizeMib}m --name ${lv} vg1; blkdiscard --zeroout /dev/vg1/${lv}; udevadm settle`,
  );

beforeAll(async () => {
  host = await Host.up('helper', { installed: true });
  await prepareToAsk(host);
  await host.sh('cat >/root/md.py', { input: MD_SUPERBLOCK });
  await sh(`echo 'volume_groups: [vg1]' >/etc/${USER}/config.yaml`);
});
afterAll(async () => {
  await host?.down();
});

describe('the socket', () => {
  it('is the service user’s alone', async () => {
    expect(await sh(`stat -c '%U %a' ${HELPER_SOCKET}`)).toBe(`${USER} 600`);
    await expect(
      sh(`setpriv --reuid nobody --regid nogroup --clear-groups python3 - </root/ask.py`),
    ).rejects.toThrow(/PermissionError/);
  });

  // It asks the kernel who calls, and does not rely on what the file lets in.
  it('answers nobody else, if others can reach it all the same', async () => {
    const askAs = (user: string): Promise<string> =>
      sh(
        `chmod 666 ${HELPER_SOCKET}; cp /root/ask.py /tmp; chmod 644 /tmp/ask.py
         echo '{"verb":"list"}' | setpriv --reuid ${user} --regid ${user} --clear-groups python3 /tmp/ask.py 2>/dev/null || true
         chmod 600 ${HELPER_SOCKET}`,
      );
    expect(await askAs('daemon')).toBe('');
    expect(await askAs(USER)).toContain('"ok":true');
  });

  it('refuses what is no request', async () => {
    expect(await ask({ verb: 'remove', vg: 'vg1', lv: 'x' })).toMatchObject({
      ok: false,
      problem: { code: 'USAGE' },
    });
    expect(await ask({ verb: 'examine', vg: 'vg1', lv: '../vg0/x' })).toMatchObject({
      ok: false,
      problem: { code: 'USAGE' },
    });
  });
});

describe('the configuration', () => {
  it('decides which groups exist for the helper', async () => {
    await sh('lvcreate -qq --yes --size 8m --name other vg0');
    const volume = { ...newVolume('new'), vg: 'vg0' };
    const refused = { ok: false, problem: { code: 'POOL_UNSUITABLE' } };
    expect(await ask({ verb: 'examine', vg: 'vg0', lv: 'other' })).toMatchObject(refused);
    expect(await ask({ verb: 'create', volume, sizeBytes: 4096 })).toMatchObject(refused);
    expect(await ask({ verb: 'adopt', volume: { ...volume, target: 'other' } })).toMatchObject(refused);
    expect(await ask({ verb: 'discard', vg: 'vg0', fillId: volume.fillId })).toMatchObject(refused);
    expect(await namesIn('vg0')).toEqual(['other']);
    expect(JSON.stringify(await done({ verb: 'list' }))).not.toContain('vg0');
  });

  it('is not believed when others than root can write it', async () => {
    const refused = { ok: false, problem: { code: 'CONFIG_INVALID' } };
    await sh(`chmod g+w /etc/${USER}/config.yaml`);
    expect(await ask({ verb: 'list' })).toMatchObject(refused);
    await sh(`chmod g-w /etc/${USER}/config.yaml; chown ${USER} /etc/${USER}/config.yaml`);
    expect(await ask({ verb: 'list' })).toMatchObject(refused);
    await sh(`chown root /etc/${USER}/config.yaml`);
    expect(await ask({ verb: 'list' })).toMatchObject({ ok: true });
  });
});

describe('a new volume', () => {
  const volume = newVolume('web-root');
  const hidden = privateName(volume.fillId);

  it('is made under its private name, marked, and the service user’s to write', async () => {
    const created = { made: 'created', sizeBytes: 8 << 20 };
    expect(await done({ verb: 'create', volume, sizeBytes: 5_000_000 })).toEqual(created);
    expect(await tagsOf(hidden)).toEqual(fillTags(volume).sort());
    for (let times = 0; times < 2; times += 1) {
      expect(await nodeOf(hidden)).toBe(`${USER}:disk 600`);
      await sh('udevadm trigger --action=change --subsystem-match=block; udevadm settle');
    }
    await sh(
      `echo data | setpriv --reuid ${USER} --regid ${USER} --clear-groups dd of=/dev/vg1/${hidden} conv=fsync`,
    );
    await sh('lvcreate -qq --yes --size 8m --name untouchable vg1');
    await expect(
      sh(
        `setpriv --reuid ${USER} --regid ${USER} --clear-groups dd if=/dev/vg1/untouchable of=/dev/null count=1`,
      ),
    ).rejects.toThrow(/Permission denied/);
  });

  it('is the same when asked for again, and the service user’s again if it was activated anew', async () => {
    const existing = { made: 'existing', sizeBytes: 8 << 20 };
    await sh(`lvchange -qq -an vg1/${hidden}; lvchange -qq -ay vg1/${hidden}; udevadm settle`);
    expect(await nodeOf(hidden)).toBe('root:disk 600');
    expect(await done({ verb: 'create', volume, sizeBytes: 5_000_000 })).toEqual(existing);
    expect(await nodeOf(hidden)).toBe(`${USER}:disk 600`);
  });

  it('is not published over a volume of that name', async () => {
    await sh('lvcreate -qq --yes --size 8m --name web-root vg1');
    const before = (await recordOf(hidden)) + (await recordOf('web-root'));
    const response = await ask({ verb: 'publish', volume, seal: sealOf(volume) });
    expect(response).toMatchObject({ ok: false, problem: { code: 'VOLUME_STATE' } });
    expect((await recordOf(hidden)) + (await recordOf('web-root'))).toBe(before);
    await sh('lvremove -qq --yes vg1/web-root');
  });

  it('is not published or removed while somebody has it open', async () => {
    await sh(
      `(exec 3</dev/vg1/${hidden}; exec sleep 300) >/dev/null 2>&1 & echo $! >/root/holder; sleep 0.5`,
    );
    const refused = { ok: false, problem: { code: 'VOLUME_STATE' } };
    expect(await ask({ verb: 'publish', volume, seal: sealOf(volume) })).toMatchObject(refused);
    expect(await ask({ verb: 'discard', vg: 'vg1', fillId: volume.fillId })).toMatchObject(refused);
    await sh('kill $(cat /root/holder)');
    expect(await tagsOf(hidden)).toEqual(fillTags(volume).sort());
  });

  it('is published sealed, under its final name, and as any other LV is owned', async () => {
    const seal = sealOf(volume);
    await done({ verb: 'publish', volume, seal });
    expect(await tagsOf('web-root')).toEqual(sealTags(seal).sort());
    expect(await nodeOf('web-root')).toBe('root:disk 660');
    expect(await namesIn('vg1')).not.toContain(hidden);
    await done({ verb: 'publish', volume, seal });
  });

  it('stays so when udev looks at it again', async () => {
    await sh('udevadm trigger --action=change --subsystem-match=block; udevadm settle');
    expect(await nodeOf('web-root')).toBe('root:disk 660');
  });

  it('is never removed once it is published', async () => {
    const response = await ask({ verb: 'discard', vg: 'vg1', fillId: volume.fillId });
    expect(response).toMatchObject({ ok: false, problem: { code: 'VOLUME_STATE' } });
    expect(await namesIn('vg1')).toContain('web-root');
  });

  it('that does not fit is refused with the numbers', async () => {
    const response = await ask({ verb: 'create', volume: newVolume('huge'), sizeBytes: 1024 ** 4 });
    expect(response).toMatchObject({ ok: false, problem: { code: 'VG_FULL' } });
  });
});

describe('a volume that is given up', () => {
  it('is removed, and its absence is no error', async () => {
    const volume = newVolume('given-up');
    await done({ verb: 'create', volume, sizeBytes: 1 });
    await done({ verb: 'discard', vg: 'vg1', fillId: volume.fillId });
    expect(await namesIn('vg1')).not.toContain(privateName(volume.fillId));
    await done({ verb: 'discard', vg: 'vg1', fillId: volume.fillId });
  });

  it('is left alone if it has a private name without our marks', async () => {
    const { fillId } = newVolume('none');
    await sh(`lvcreate -qq --yes --size 8m --name ${privateName(fillId)} vg1`);
    const response = await ask({ verb: 'discard', vg: 'vg1', fillId });
    expect(response).toMatchObject({ ok: false, problem: { code: 'VOLUME_STATE' } });
    expect(await namesIn('vg1')).toContain(privateName(fillId));
    await sh(`lvremove -qq --yes vg1/${privateName(fillId)}`);
  });
});

describe('an existing volume', () => {
  it('is taken over when it is blank', async () => {
    await zeroed('blank');
    const volume = newVolume('blank');
    expect(await done({ verb: 'examine', vg: 'vg1', lv: 'blank' })).toEqual({ blank: true });
    expect(await done({ verb: 'adopt', volume })).toEqual({ sizeBytes: 32 << 20 });
    expect(await tagsOf(privateName(volume.fillId))).toEqual(fillTags(volume).sort());
    expect(await nodeOf(privateName(volume.fillId))).toBe(`${USER}:disk 600`);
    expect(await namesIn('vg1')).not.toContain('blank');
    await done({ verb: 'adopt', volume });
    await done({ verb: 'discard', vg: 'vg1', fillId: volume.fillId });
  });

  it('is taken over when libvirt has made it', async () => {
    await sh(`echo 'volume_groups: [vg0, vg1]' >/etc/${USER}/config.yaml`);
    await sh('virsh vol-create-as guests fresh 64M');
    const volume = { ...newVolume('fresh'), vg: 'vg0' };
    expect(await done({ verb: 'adopt', volume })).toEqual({ sizeBytes: 64 << 20 });
    await done({ verb: 'discard', vg: 'vg0', fillId: volume.fillId });
    await sh(`echo 'volume_groups: [vg1]' >/etc/${USER}/config.yaml`);
  });

  const occupied: Record<string, { write: string; why: RegExp; sizeMib?: number; code?: string }> = {
    ext4: { write: 'mkfs.ext4 -q $dev', why: /ext4/ },
    xfs: { write: 'mkfs.xfs -q $dev', why: /xfs/, sizeMib: 320 },
    swap: { write: 'mkswap -q $dev', why: /swap/ },
    'btrfs, whose superblock lies at 64 KiB': {
      write: 'mkfs.btrfs -q $dev; dd if=/dev/zero of=$dev bs=64K count=1 conv=notrunc',
      why: /btrfs/,
      sizeMib: 128,
    },
    'an ISO image with nothing in its first 32 KiB': {
      write: "printf '\\001CD001\\001' | dd of=$dev bs=1 seek=32768 conv=notrunc",
      why: /iso9660/,
    },
    'an LVM physical volume': {
      write: 'pvcreate -qq --config devices/scan_lvs=1 --yes $dev',
      why: /LVM2_member/,
    },
    'an md member with its superblock at the end': {
      write: 'python3 /root/md.py $dev 1.0',
      why: /linux_raid_member/,
    },
    'an md member with its superblock at 4 KiB': {
      write: 'python3 /root/md.py $dev 1.2',
      why: /linux_raid_member/,
    },
    LUKS: {
      write: 'echo secret | cryptsetup -q luksFormat --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $dev -',
      why: /crypto_LUKS/,
    },
    'LUKS2 whose first header is gone': {
      write:
        'echo secret | cryptsetup -q luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $dev -; dd if=/dev/zero of=$dev bs=4K count=1 conv=notrunc',
      why: /crypto_LUKS/,
    },
    'a GPT': { write: 'echo label: gpt | sfdisk -q --no-reread --no-tell-kernel $dev', why: /gpt/ },
    'a single byte in the first 4 KiB': {
      write: 'printf x | dd of=$dev bs=1 seek=4095 conv=notrunc',
      why: /byte 4095/,
    },
    'something that uses it': {
      write: '(exec 3<$dev; exec sleep 300) >/dev/null 2>&1 & echo $! >/root/holder; sleep 0.5',
      why: /open/,
    },
    'a device-mapper device on top': {
      write: 'dmsetup create on-top --table "0 8 linear $dev 0"; udevadm settle',
      why: /open/,
    },
    'a snapshot': {
      write: 'lvcreate -qq --yes --snapshot --size 8m --name snap vg1/occupied',
      why: /origin/,
    },
    'a tag of ours from somewhere': {
      write: 'lvchange -qq --addtag lvp:ready vg1/occupied',
      why: /no sense/,
    },
    'been deactivated': {
      write: 'cp -L $dev /dev/null; lvchange -qq -an vg1/occupied',
      why: /not active/,
      code: 'HELPER_FAILED',
    },
  };
  it.each(Object.entries(occupied))(
    'is refused, untouched, when it has %s',
    async (_name, { write, why, sizeMib, code = 'VOLUME_NOT_BLANK' }) => {
      const volume = newVolume('occupied');
      await zeroed('occupied', sizeMib);
      await sh(`dev=/dev/vg1/occupied; { ${write}; } 2>/dev/null; sync; udevadm settle`);
      const record = 'lvs --noheadings -o lv_name,lv_uuid,lv_tags,lv_size,lv_active vg1';
      const before = await sh(record);
      expect(await done({ verb: 'examine', vg: 'vg1', lv: 'occupied' })).toMatchObject({
        blank: false,
        why: expect.stringMatching(why) as string,
      });
      const response = await ask({ verb: 'adopt', volume });
      expect(response).toMatchObject({
        ok: false,
        problem: { code, message: expect.stringMatching(why) as string },
      });
      expect(await sh(record)).toBe(before);
      await sh(
        'if [ -e /root/holder ]; then kill $(cat /root/holder) || true; rm /root/holder; fi; ' +
          'if dmsetup info on-top >/dev/null 2>&1; then dmsetup remove on-top; fi; ' +
          'udevadm settle; lvremove -qq --yes vg1/occupied',
      );
    },
  );
});

describe('an encrypted volume', () => {
  const volume = { ...newVolume('vault'), encryption: 'luks1' as const };
  const plainVolume = { ...volume, encryption: undefined };
  const seal = { ...sealOf(volume), encryption: 'luks1' as const };
  const hidden = privateName(volume.fillId);
  const mapping = mappingName(volume.fillId);
  const [first, second, strange] = ['First', 'Second', 'Strange'].map((name) => name.padEnd(48, '-of-a-key'));
  const keys = { first: [first], second: [second], strange: [strange], both: [first, second] } as Record<
    string,
    string[]
  >;
  const asService = `setpriv --reuid ${USER} --regid ${USER} --clear-groups`;
  const close = { verb: 'closeLuks', vg: 'vg1', fillId: volume.fillId };
  const refused = (code: string) => ({ ok: false, problem: { code } });
  const fine = { ok: true };
  const opened = { ok: true, result: { sizeBytes: 38 << 20 } };

  it('is made out of the service user’s reach, and stays so when udev looks at it again', async () => {
    await done({ verb: 'create', volume, sizeBytes: 40 << 20 });
    expect(await tagsOf(hidden)).toEqual(fillTags(volume).sort());
    await sh('udevadm trigger --action=change --subsystem-match=block; udevadm settle');
    expect(await nodeOf(hidden)).toBe('root:disk 600');
  });

  it('is not opened or published before it has a header, nor formatted as a plain one', async () => {
    for (const verb of ['openLuks', 'publish']) {
      const request = { verb, volume, ...(verb === 'publish' && { seal }) };
      expect(await ask(request, keys['first'])).toMatchObject(refused('VOLUME_STATE'));
    }
    expect(await ask({ verb: 'formatLuks', volume: plainVolume }, keys['first'])).toMatchObject(
      refused('USAGE'),
    );
  });

  it('is taken from the service user, to whom an older version gives it, before it has a header', async () => {
    await sh(`chown ${USER}:${USER} $(readlink -f /dev/vg1/${hidden})`);
    expect(await ask({ verb: 'formatLuks', volume }, keys['second'])).toEqual(opened);
    expect(await nodeOf(hidden)).toBe('root:disk 600');
  });

  it('has the one header that QEMU opens, and a mapping that is the service user’s and nobody looks into', async () => {
    expect(await ask({ verb: 'formatLuks', volume }, keys['first'])).toEqual(opened);
    expect(await nodeOf(hidden)).toBe('root:disk 600');
    expect(await sh(`stat -L -c '%U:%G %a' /dev/mapper/${mapping}`)).toBe(`${USER}:${USER} 600`);
    // A file system, and bytes that are known again.
    await sh(
      `truncate -s 8M /tmp/inside; mkfs.ext4 -q -F -L inside /tmp/inside
       ${asService} dd if=/tmp/inside of=/dev/mapper/${mapping} bs=1M oflag=direct conv=fsync status=none
       set +o pipefail; yes plain-text-of-a-guest | head -c 1M >/tmp/known
       ${asService} dd if=/tmp/known of=/dev/mapper/${mapping} bs=1M seek=20 oflag=direct conv=fsync status=none
       udevadm trigger --action=change --name-match=/dev/mapper/${mapping}; udevadm settle`,
    );
    const known = await sh(`udevadm info --query=property /dev/mapper/${mapping}`);
    expect(known).not.toMatch(/ID_FS_|ID_PART/);
    expect(known).toContain('SYSTEMD_READY=0');
    expect(
      await sh(`readlink -f /dev/disk/by-*/* | grep -c "$(readlink -f /dev/mapper/${mapping})$" || true`),
    ).toBe('0');
    expect(await sh(`stat -L -c '%U:%G %a' /dev/mapper/${mapping}`)).toBe(`${USER}:${USER} 600`);
  });

  it('is not published, given up or formatted again while somebody writes through it', async () => {
    const publish = { verb: 'publish', volume, seal };
    expect(await ask(publish, keys['first'])).toMatchObject(refused('VOLUME_STATE'));
    await sh(
      `(exec 3</dev/mapper/${mapping}; exec sleep 300) >/dev/null 2>&1 & echo $! >/root/holder
       until [ "$(dmsetup info -c --noheadings -o open ${mapping})" = 1 ]; do sleep 0.1; done`,
    );
    expect(await ask({ verb: 'discard', vg: 'vg1', fillId: volume.fillId })).toMatchObject(
      refused('VOLUME_STATE'),
    );
    expect(await ask({ verb: 'formatLuks', volume }, keys['second'])).toMatchObject(refused('VOLUME_STATE'));
    expect(await ask(close)).toMatchObject(refused('VOLUME_STATE'));
    await sh('kill $(cat /root/holder); rm /root/holder');
  });

  it('is opened anew by a helper that follows a killed one, and by its key alone', async () => {
    await sh(`kill -9 $(systemctl show -P MainPID ${USER}-helper.service)`);
    expect(await ask({ verb: 'openLuks', volume }, keys['strange'])).toMatchObject(refused('KEY_WRONG'));
    expect(await ask({ verb: 'openLuks', volume }, keys['first'])).toMatchObject(fine);
    expect(
      await sh(`dd if=/dev/mapper/${mapping} bs=1M skip=20 count=1 status=none | cmp - /tmp/known`),
    ).toBe('');
    for (let times = 0; times < 2; times += 1) expect(await ask(close)).toMatchObject(fine);
  });

  it('is published with its key alone, holds nothing that was written as it was, and QEMU reads it with the key', async () => {
    const publish = { verb: 'publish', volume, seal };
    expect(await ask(publish)).toMatchObject(refused('USAGE'));
    expect(await ask(publish, keys['strange'])).toMatchObject(refused('KEY_WRONG'));
    expect(await tagsOf(hidden)).toEqual(fillTags(volume).sort());
    expect(await ask(publish, keys['first'])).toMatchObject(fine);
    expect(await ask(publish)).toMatchObject(fine);
    expect(await tagsOf('vault')).toEqual(sealTags(seal).sort());
    expect(await nodeOf('vault')).toBe('root:disk 660');
    expect(await sh('grep -c -a plain-text-of-a-guest /dev/vg1/vault || true')).toBe('0');
    await sh(`printf %s ${String(first)} >/root/key`);
    const image = `--object secret,id=key,file=/root/key --image-opts driver=luks,key-secret=key,file.driver=host_device,file.filename=/dev/vg1/vault`;
    const info = JSON.parse(await sh(`qemu-img info --output=json ${image}`)) as object;
    expect(info).toMatchObject({
      'virtual-size': 38 << 20,
      'format-specific': {
        data: {
          'cipher-alg': 'aes-256',
          'cipher-mode': 'xts',
          'ivgen-alg': 'plain64',
          'payload-offset': 2 << 20,
        },
      },
    });
    await sh(
      `qemu-img convert ${image} -O raw /root/whole
       dd if=/root/whole of=/root/read bs=1M skip=20 count=1 status=none`,
    );
    expect(await sh('cmp /root/read /tmp/known')).toBe('');
  });

  it('tells which key opens it, also while a guest has it open, and is not changed by that', async () => {
    const check = { verb: 'checkLuks', vg: 'vg1', seal };
    await sh(
      `(exec 3<>/dev/vg1/vault; exec sleep 300) >/dev/null 2>&1 & echo $! >/root/holder
       until [ "$(dmsetup info -c --noheadings -o open vg1-vault)" = 1 ]; do sleep 0.1; done`,
    );
    const header = 'head -c 2M /dev/vg1/vault | sha256sum';
    const before = await sh(header);
    expect(await ask(check, keys['first'])).toEqual({ ok: true, result: { keys: 1 } });
    expect(await ask(check, keys['strange'])).toMatchObject(refused('KEY_WRONG'));
    expect(await ask({ verb: 'addLuksKey', vg: 'vg1', seal }, keys['both'])).toMatchObject(
      refused('VOLUME_STATE'),
    );
    expect(await ask({ verb: 'eraseLuks', vg: 'vg1', seal })).toMatchObject(refused('VOLUME_STATE'));
    await sh('kill $(cat /root/holder); rm /root/holder');
    expect(await sh(header)).toBe(before);
  });

  it('is opened by a key that is known, whenever the helper is killed while keys are changed', async () => {
    const check = { verb: 'checkLuks', vg: 'vg1', seal };
    const requests = [
      [{ verb: 'addLuksKey', vg: 'vg1', seal }, keys['both'], keys['first']],
      [{ verb: 'keepOnlyLuksKey', vg: 'vg1', seal }, keys['second'], keys['second']],
    ] as const;
    for (const [request, given, opening] of requests) {
      const asked = ask(request, given).catch(() => undefined);
      await sh(
        `until pgrep -x cryptsetup >/dev/null; do :; done
         kill -9 $(systemctl show -P MainPID ${USER}-helper.service)`,
      );
      await asked;
      expect(await ask(check, opening)).toMatchObject(fine);
      expect(await ask(request, given)).toMatchObject(fine);
    }
    expect(await ask(check, keys['second'])).toEqual({ ok: true, result: { keys: 1 } });
    expect(await ask(check, keys['first'])).toMatchObject(refused('KEY_WRONG'));
  });

  it('is opened by nothing once it is erased', async () => {
    for (let times = 0; times < 2; times += 1)
      expect(await ask({ verb: 'eraseLuks', vg: 'vg1', seal })).toMatchObject(fine);
    expect(await ask({ verb: 'checkLuks', vg: 'vg1', seal }, keys['second'])).toMatchObject(
      refused('KEY_WRONG'),
    );
    expect(await sh('cryptsetup luksDump /dev/vg1/vault | grep -c ": DISABLED"')).toBe('8');
    expect(await sh('cmp -n $((2*1024*1024-4096)) -i 4096:0 /dev/vg1/vault /dev/zero')).toBe('');
  });

  it('that is given up with its mapping open is removed', async () => {
    const other = { ...newVolume('given-up'), encryption: 'luks1' };
    expect(await ask({ verb: 'create', volume: other, sizeBytes: 4 << 20 })).toMatchObject(fine);
    expect(await ask({ verb: 'formatLuks', volume: other }, keys['first'])).toMatchObject(fine);
    await done({ verb: 'discard', vg: 'vg1', fillId: other.fillId });
    expect(await namesIn('vg1')).not.toContain(privateName(other.fillId));
    expect(await sh('ls /dev/mapper')).not.toContain(other.fillId);
  });

  it('has its key from this host, if it stands there, and from nowhere else', async () => {
    if (host === undefined) throw new Error('no host');
    const folder = `/var/lib/${USER}-keys`;
    await sh(
      `mkdir -p -m 0700 ${folder}; umask 077
       printf %s ${String(first)} | systemd-creds encrypt --with-key=host --name=lvp-key-web - ${folder}/web.cred
       cp ${folder}/web.cred ${folder}/other.cred
       printf %s ${String(first)} | systemd-creds encrypt --with-key=host --name=lvp-key-open - ${folder}/open.cred
       chmod 644 ${folder}/open.cred`,
    );
    const { line, key } = await askForKey(host, { verb: 'readKey', name: 'web' });
    expect([JSON.parse(line), key]).toEqual([{ ok: true, result: { keyLength: 48 } }, first]);
    expect(await ask({ verb: 'readKey', name: 'gone' })).toMatchObject(refused('KEY_NOT_FOUND'));
    for (const name of ['other', 'open']) {
      expect(await ask({ verb: 'readKey', name })).toMatchObject(refused('KEY_UNUSABLE'));
    }
  });

  it('leaves no key in the journal', async () => {
    const journal = await sh(`journalctl --no-pager -o cat -u ${USER}-helper.service`);
    expect(journal).toContain('keepOnlyLuksKey');
    for (const key of [first, second, strange]) expect(journal).not.toContain(key);
  });
});

describe('another process of LVM that holds the lock', () => {
  it('is waited for', async () => {
    await sh('(flock /run/lock/lvm/V_vg1 sleep 3) >/dev/null 2>&1 & sleep 0.3');
    expect(await ask({ verb: 'list' })).toMatchObject({ ok: true });
  });
});

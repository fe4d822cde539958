/**
 * Disks that fail: with an error, silently, or by not answering at all. Goal: what is not on the disk is not
 * published, the space comes back, the fill is made by itself once the disk is well again, and the rest of the host
 * does not suffer. Method: the group vg1 lies on device-mapper targets that are changed under it.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Asked } from './ask-hook.ts';
import { askHook } from './ask-hook.ts';
import { eventually } from './host.ts';
import type { TestDomain } from './provisioned-host.ts';
import {
  beginSlowFill,
  define,
  expectFilled,
  failureOf,
  limitRate,
  moveSecondGroup,
  privateVolumes,
  published,
  soilFreeSpace,
  statusOf,
  useProvisionedHost,
  SLOW_IMAGE_BYTES,
} from './provisioned-host.ts';

const MIB = 1 << 20;
const IMAGE_MIB = 16;

/** Of a block of dm-dust, and of an extent of LVM. */
const DUST_SECTORS = 8;
const EXTENT_SECTORS = 8192;
/** Sectors of 512 bytes. The metadata lie on a part of the disk that always works. */
const SECTORS = { metadata: 2 * 1024, sound: 8 * 2048, data: 511 * 2048 };
const ON_DISK = 8 * 2048 + SECTORS.metadata;

const SOUND = `0 ${SECTORS.data} linear /dev/ubdc ${ON_DISK}`;
/** The first volume begins on the part that works: it is made, and fails later. */
function soundUntilHalf(target: string): string {
  return `0 ${SECTORS.sound} linear /dev/ubdc ${ON_DISK}\n${SECTORS.sound} ${SECTORS.data - SECTORS.sound} ${target}`;
}
const flakey = (features: string) => `flakey /dev/ubdc ${ON_DISK + SECTORS.sound} 0 86400 ${features}`;

const WHOLE_DISK = `0 ${SECTORS.metadata} linear /dev/ubdc ${ON_DISK - SECTORS.metadata}
${SECTORS.metadata} ${SECTORS.data} linear /dev/mapper/data 0`;

const PHYSICAL_VOLUME = `
  modprobe dm-flakey
  dmsetup create data --table '${SOUND}'
  dmsetup create disk <<TABLE
${WHOLE_DISK}
TABLE
  echo 'devices { global_filter = ["r|/data$|"] }' >/etc/lvm/lvmlocal.conf
  pv=/dev/mapper/disk`;

interface Fault {
  readonly name: string;
  readonly table: string;
  readonly code: string;
  readonly says: RegExp;
}

const FAULTS: readonly Fault[] = [
  {
    name: 'forgets-writes',
    table: soundUntilHalf(flakey('1 drop_writes')),
    code: 'DEVICE_FAILED',
    says: /does not hold what was written to it: from byte/,
  },
  {
    name: 'fails-reads',
    table: soundUntilHalf(flakey('1 error_reads')),
    code: 'DEVICE_FAILED',
    says: /Cannot read .* EIO/,
  },
  { name: 'fails-at-once', table: `0 ${SECTORS.data} error`, code: 'HELPER_FAILED', says: /lvcreate/ },
  {
    name: 'fails-writes',
    table: soundUntilHalf('error'),
    code: 'DEVICE_FAILED',
    says: /Cannot write .* EIO/,
  },
];

describe('a disk', () => {
  const { host, folder } = useProvisionedHost('devices', 'verify: {read_back: true}');
  let image = '';

  beforeAll(async () => {
    image = join(folder(), 'image.raw');
    await writeFile(image, randomBytes(IMAGE_MIB * MIB));
    await host().putImage(image, 'image.raw', { sidecar: true });
    await moveSecondGroup(host(), PHYSICAL_VOLUME);
    await soilFreeSpace(host(), 64, 'vg1');
    await define(host(), { name: 'neighbour', image: 'image.raw' });
    await published(host(), 'neighbour');
  });

  /** Another table under the physical volume, at once. */
  const setTable = (table: string, device = 'data') =>
    host().sh(
      `dmsetup suspend --noflush --nolockfs ${device}; dmsetup load ${device}; dmsetup resume ${device}`,
      { input: table },
    );

  const freeBytes = async () => (await host().sh('vgs --noheadings --units b -o vg_free vg1')).stdout;

  const onThisDisk = (name: string): TestDomain => ({ name, pool: 'others', image: 'image.raw' });

  async function askGate(name: string): Promise<Asked> {
    return askHook(host(), (await host().sh(`virsh dumpxml ${name}`)).stdout);
  }

  it.each(FAULTS)('that $name: nothing is published, and the space comes back', async (fault) => {
    const { name, table, code, says } = fault;
    const free = await freeBytes();
    await setTable(table);
    await define(host(), onThisDisk(name));
    const problem = await failureOf(host(), name);
    expect(problem?.code).toBe(code);
    expect(problem?.message).toMatch(says);
    expect(problem?.hint).toMatch(/.{20}/);
    // It is tried again now and then: in between there is nothing of it.
    await eventually('the space is back', async () => ((await freeBytes()) === free ? true : undefined));
    // The last one is met again below.
    if (fault !== FAULTS.at(-1)) await host().sh(`virsh undefine ${name}`);
  });

  it('that is gone altogether does not hold up the others, and is used again when it is back', async () => {
    await setTable(`0 ${SECTORS.metadata + SECTORS.data} error`, 'disk');
    await define(host(), { name: 'elsewhere', image: 'image.raw' });
    await expectFilled(host(), 'elsewhere', image);
    expect((await askGate('neighbour')).allowed).toBe(true);
    expect((await askGate('fails-writes')).allowed).toBe(false);
    await setTable(SOUND);
    await setTable(WHOLE_DISK, 'disk');
    // Somebody tries to start it: that ends its pause.
    await askGate('fails-writes');
    await expectFilled(host(), 'fails-writes', image, { vg: 'vg1' });
    expect(await privateVolumes(host(), 'vg1')).toEqual([]);
  });

  it('whose bad blocks a write makes good is filled all the same', async () => {
    // Reads of them fail until they have been written to: one in the middle of each extent, since LVM reads the
    // first ones of a volume before it writes there. They are counted from the beginning of the whole disk.
    const [first, end] = [SECTORS.sound, SECTORS.data].map(
      (sector) => (ON_DISK + sector + EXTENT_SECTORS / 2) / DUST_SECTORS,
    );
    const tell = `dmsetup message data ${SECTORS.sound}`;
    const countBad = async () => {
      const { stdout } = await host().sh(`${tell} countbadblocks`);
      return Number(/(\d+) badblock/.exec(stdout)?.[1]);
    };
    await host().sh('modprobe dm-dust');
    await setTable(soundUntilHalf(`dust /dev/ubdc ${ON_DISK + SECTORS.sound} ${DUST_SECTORS * 512}`));
    await host().sh(
      `for block in $(seq ${first} ${EXTENT_SECTORS / DUST_SECTORS} ${end}); do ${tell} addbadblock $block; done
       ${tell} enable`,
    );
    const bad = await countBad();
    await define(host(), onThisDisk('dusty'));
    await expectFilled(host(), 'dusty', image, { vg: 'vg1' });
    expect(bad - (await countBad())).toBe((IMAGE_MIB * MIB) / 512 / EXTENT_SECTORS);
    await setTable(SOUND);
  });

  describe('that does not answer', () => {
    afterEach(async () => {
      await host().sh('dmsetup resume disk; dmsetup resume data');
      await limitRate(host(), undefined);
    });

    it('holds up its fill and not the gate, even when LVM cannot read it', async () => {
      const slow = join(folder(), 'slow.raw');
      await writeFile(slow, randomBytes(SLOW_IMAGE_BYTES));
      await host().putImage(slow, 'slow.raw', { sidecar: true });
      await beginSlowFill(host(), { ...onThisDisk('waits'), image: 'slow.raw' });
      await host().sh('dmsetup suspend --noflush --nolockfs disk');
      expect(await askGate('neighbour')).toMatchObject({ allowed: true, message: '' });
      expect((await askGate('waits')).allowed).toBe(false);
      await host().sh('dmsetup resume disk; dmsetup suspend --noflush --nolockfs data');
      await limitRate(host(), undefined);
      await define(host(), { name: 'meanwhile', image: 'image.raw' });
      expect((await askGate('neighbour')).allowed).toBe(true);
      const refused = await askGate('waits');
      expect(refused.allowed).toBe(false);
      expect(refused.message).toMatch(/disk vda/i);
      expect((await statusOf(host(), 'waits')).volumes[0]?.state).toBe('filling');
      await host().sh('dmsetup resume data');
      await expectFilled(host(), 'waits', slow, { vg: 'vg1' });
      await expectFilled(host(), 'meanwhile', image);
    });
  });
});

/**
 * Disks that fail: with an error, silently, or by not answering at all. Goal: what is not on the disk is not
 * published, the space comes back, the fill is made by itself once the disk is well again, and the rest of the host
 * does not suffer. Method: the group vg1 lies on device-mapper targets that are changed under it.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { VolumeStatus } from '../../src/core/control-protocol.ts';
import type { ShResult } from './host.ts';
import { eventually } from './host.ts';
import type { TestDomain } from './provisioned-host.ts';
import {
  define,
  deviceDigest,
  expectedDigest,
  limitRate,
  moveSecondGroup,
  privateVolumes,
  published,
  soilFreeSpace,
  statusOf,
  useProvisionedHost,
} from './provisioned-host.ts';

const MIB = 1 << 20;
const IMAGE_MIB = 16;
const DAEMON = 'libvirt-volume-provisioner';
const HOOK = `/etc/libvirt/hooks/qemu.d/50-${DAEMON}`;
/** What the hook may take: its grace, what it leaves a daemon that hangs, and `lvs`; on a busy machine. */
const GATE_LIMIT_MS = 25_000;

/** Sectors of 512 bytes. The metadata lie on a part of the disk that always works. */
const SECTORS = { metadata: 2 * 1024, sound: 8 * 2048, data: 511 * 2048 };
const ON_DISK = 8 * 2048 + SECTORS.metadata;

const SOUND = `0 ${SECTORS.data} linear /dev/ubdc ${ON_DISK}`;
/** The first volume begins on the part that works: it is made, and fails later. */
function soundUntilHalf(target: string): string {
  return `0 ${SECTORS.sound} linear /dev/ubdc ${ON_DISK}\n${SECTORS.sound} ${SECTORS.data - SECTORS.sound} ${target}`;
}
const flakey = (features: string) => `flakey /dev/ubdc ${ON_DISK + SECTORS.sound} 0 86400 ${features}`;

const PHYSICAL_VOLUME = `
  modprobe dm-flakey
  dmsetup create data --table '${SOUND}'
  dmsetup create disk <<TABLE
0 ${SECTORS.metadata} linear /dev/ubdc ${ON_DISK - SECTORS.metadata}
${SECTORS.metadata} ${SECTORS.data} linear /dev/mapper/data 0
TABLE
  echo 'devices { global_filter = ["r|/data$|"] }' >/etc/lvm/lvmlocal.conf
  pv=/dev/mapper/disk`;

interface Fault {
  readonly name: string;
  readonly table: string;
  readonly code: string;
  readonly says: RegExp;
}

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
      {
        input: table,
      },
    );

  const freeBytes = async () => (await host().sh('vgs --noheadings --units b -o vg_free vg1')).stdout;

  const onThisDisk = (name: string): TestDomain => ({ name, pool: 'others', image: 'image.raw' });

  async function failed(name: string): Promise<VolumeStatus> {
    return eventually(
      `${name} has failed`,
      async () => {
        const [volume] = (await statusOf(host(), name)).volumes;
        return volume?.state === 'failed' ? volume : undefined;
      },
      { timeoutMs: 120_000 },
    );
  }

  /** By itself, with nobody asking for it. */
  async function expectRight(name: string, vg = 'vg1'): Promise<void> {
    await published(host(), name);
    expect(await deviceDigest(host(), `/dev/${vg}/${name}`)).toBe(await expectedDigest(image, 'raw'));
    expect(await privateVolumes(host(), vg)).toEqual([]);
  }

  /** So that the next volume begins at the disk's begin again. */
  const forget = (name: string) =>
    host().sh(`virsh undefine ${name} && virsh vol-delete --pool others ${name}`);

  async function askGate(name: string): Promise<ShResult & { tookMs: number }> {
    const result = await host().sh(
      `virsh dumpxml ${name} >/tmp/asked.xml
       begun=$(date +%s%N); ${HOOK} ${name} prepare begin - </tmp/asked.xml; code=$?
       echo $((($(date +%s%N) - begun) / 1000000)); exit $code`,
      { reject: false },
    );
    return { ...result, tookMs: Number(result.stdout) };
  }

  const faults: readonly Fault[] = [
    {
      name: 'fails-writes',
      table: soundUntilHalf('error'),
      code: 'DEVICE_FAILED',
      says: /Cannot write .* EIO/,
    },
    {
      name: 'forgets-writes',
      table: soundUntilHalf(flakey('1 drop_writes')),
      code: 'DEVICE_FAILED',
      says: /does not hold what was written to it: from byte/,
    },
    {
      name: 'writes-other-bytes',
      table: soundUntilHalf(flakey('5 corrupt_bio_byte 7 w 90 0')),
      code: 'DEVICE_FAILED',
      says: /does not hold what was written to it: from byte/,
    },
    {
      name: 'reads-other-bytes',
      table: soundUntilHalf(flakey('5 corrupt_bio_byte 7 r 90 0')),
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
  ];

  it.each(faults)('that $name: nothing is published, and all is well once it is', async (fault) => {
    const { name, table, code, says } = fault;
    const free = await freeBytes();
    await setTable(table);
    await define(host(), onThisDisk(name));
    const { problem } = await failed(name);
    expect(problem?.code).toBe(code);
    expect(problem?.message).toMatch(says);
    expect(problem?.hint).toMatch(/.{20}/);
    // It is tried again now and then: in between there is nothing of it.
    await eventually('the space is back', async () => ((await freeBytes()) === free ? true : undefined));
    expect((await askGate(name)).exitCode).toBe(1);
    expect((await askGate('neighbour')).exitCode).toBe(0);
    await setTable(SOUND);
    await expectRight(name);
    await forget(name);
  });

  describe('that does not answer', () => {
    afterEach(async () => {
      await host().sh('dmsetup resume disk; dmsetup resume data');
      await limitRate(host(), undefined);
    });

    async function beginFill(name: string): Promise<void> {
      await limitRate(host(), 2);
      await define(host(), onThisDisk(name));
      await eventually('bytes flow', async () => {
        const [volume] = (await statusOf(host(), name)).volumes;
        return (volume?.bytesDone ?? 0) > 0 ? true : undefined;
      });
      // So slow that it cannot end before it is let, however busy this machine is.
      await limitRate(host(), 0.125);
    }

    it('holds up its fill and not the gate, until it answers', async () => {
      await beginFill('waits');
      await host().sh('dmsetup suspend --noflush --nolockfs data');
      await limitRate(host(), undefined);
      await define(host(), { name: 'meanwhile', image: 'image.raw' });
      expect((await askGate('neighbour')).exitCode).toBe(0);
      const refused = await askGate('waits');
      expect(refused.exitCode).toBe(1);
      expect(refused.stderr).toMatch(/Disk vda is being filled/);
      expect(refused.tookMs).toBeLessThan(GATE_LIMIT_MS);
      expect((await statusOf(host(), 'waits')).volumes[0]?.state).toBe('filling');
      await host().sh('dmsetup resume data');
      await expectRight('waits');
      await expectRight('meanwhile', 'vg0');
      await forget('waits');
    });

    it('not even to LVM, does not keep the gate from answering', async () => {
      await beginFill('blocked');
      await host().sh('dmsetup suspend --noflush --nolockfs disk');
      const allowed = await askGate('neighbour');
      process.stdout.write(`the gate answers beside a suspended disk: ${allowed.tookMs} ms\n`);
      expect(allowed.stderr).toBe('');
      expect(allowed.exitCode).toBe(0);
      const refused = await askGate('blocked');
      expect(refused.exitCode).toBe(1);
      expect(Math.max(allowed.tookMs, refused.tookMs)).toBeLessThan(GATE_LIMIT_MS);
      await host().sh('dmsetup resume disk');
      await limitRate(host(), undefined);
      await expectRight('blocked');
      await forget('blocked');
    });
  });

  it('that is gone altogether does not hold up the others, and is used again when it is back', async () => {
    await setTable(`0 ${SECTORS.metadata + SECTORS.data} error`, 'disk');
    await define(host(), onThisDisk('gone'));
    await define(host(), { name: 'elsewhere', image: 'image.raw' });
    await expectRight('elsewhere', 'vg0');
    expect((await askGate('neighbour')).exitCode).toBe(0);
    expect((await askGate('gone')).exitCode).toBe(1);
    await setTable(
      `0 ${SECTORS.metadata} linear /dev/ubdc ${ON_DISK - SECTORS.metadata}
${SECTORS.metadata} ${SECTORS.data} linear /dev/mapper/data 0`,
      'disk',
    );
    await expectRight('gone');
    await forget('gone');
  });

  it('that forgets writes is not noticed without verify.read_back', async () => {
    await host().sh(
      `sed -i 's/read_back: true/read_back: false/' /etc/${DAEMON}/config.yaml; systemctl restart ${DAEMON}`,
    );
    await setTable(soundUntilHalf(flakey('1 drop_writes')));
    await define(host(), onThisDisk('believed'));
    await published(host(), 'believed');
    expect(await deviceDigest(host(), '/dev/vg1/believed')).not.toBe(await expectedDigest(image, 'raw'));
  });
});

/**
 * Goal: a volume that is sealed on the disk is finished on the disk, also on one that loses its write cache in a
 * power cut, and writes what it likes of it first. Method: the group lies on dm-log-writes, which logs every write
 * and every flush; from that log every state a power cut may have left is made again, and each volume that LVM's
 * metadata call sealed there is compared with its image, byte for byte.
 */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import { readMark } from '../../src/core/volume/volume.ts';
import type { VolumeOnDisk } from '../replay/lvm-metadata.ts';
import { contentOnDisk, volumesOnDisk } from '../replay/lvm-metadata.ts';
import type { LogEntry } from '../replay/write-log.ts';
import { crashStates, readWriteLog } from '../replay/write-log.ts';
import { Random } from '../simulation/random.ts';
import { eventually } from './host.ts';
import { define, moveSecondGroup, published, useProvisionedHost } from './provisioned-host.ts';

const MIB = 1 << 20;
const DISK_MIB = 128;
/** LVM's default: the metadata end there, and the volumes begin. */
const METADATA_BYTES = MIB;
const SEED = Number(process.env['LOG_WRITES_SEED'] ?? 1);
const RANDOM_STATES = 12;
const EARLIER_TENANT = 0xa5;

const DAEMON = 'libvirt-volume-provisioner';

/** $pv is the disk through dm-log-writes; LVM must not see the same disk beneath it. */
const LOGGED_DISK = `
  echo 'devices { global_filter = ["r|/logged-disk$|"] }' >/etc/lvm/lvmlocal.conf
  modprobe dm-log-writes
  dmsetup create logged-disk --table "0 $((${DISK_MIB} * 2048)) linear /dev/ubdc $((8 * 2048))"
  dmsetup create write-log --table "0 $((4096 * 2048)) linear /dev/ubdc $((1024 * 2048))"
  tr '\\0' '\\${EARLIER_TENANT.toString(8)}' </dev/zero |
    dd of=/dev/mapper/logged-disk bs=1M count=${DISK_MIB} iflag=fullblock oflag=direct status=none
  dmsetup create logged --table "0 $((${DISK_MIB} * 2048)) log-writes /dev/mapper/logged-disk /dev/mapper/write-log"
  pv=/dev/mapper/logged`;

/** What was found in all states together. */
interface Verdict {
  states: number;
  /** Volumes that some state shows sealed, and those that one does in which not everything was flushed. */
  readonly sealed: Set<string>;
  readonly sealedUnflushed: Set<string>;
  readonly wrong: Map<string, string>;
  /** In the last state. */
  volumes: readonly VolumeOnDisk[];
}

describe('on a disk that loses its write cache', () => {
  const { host, folder } = useProvisionedHost('logwrites');
  /** What a volume filled from this image begins with; the rest of it is zero. */
  const images = new Map<string, Buffer>();

  async function makeImage(key: string, disk: Buffer): Promise<void> {
    const raw = join(folder(), `${key}.source`);
    const image = join(folder(), key);
    await writeFile(raw, disk);
    const format = key.endsWith('.qcow2') ? 'qcow2' : 'raw';
    await execa('qemu-img', ['convert', '-f', 'raw', '-O', format, raw, image]);
    await host().putImage(image, key, { sidecar: true });
    images.set(`images/${key}`, disk);
  }

  async function fill(name: string, image: string): Promise<void> {
    const format = image.endsWith('.qcow2') ? 'qcow2' : 'raw';
    await define(host(), { name, pool: 'others', image, format });
    await published(host(), name);
  }

  /** Everything written so far. The fsync makes the log hold what LVM itself leaves unflushed. */
  async function takeLog(mark: string): Promise<LogEntry[]> {
    await host().sh(`sync /dev/mapper/logged && dmsetup message logged 0 mark ${mark}`);
    return eventually('the log holds the mark', async () => {
      await host().sh(
        `read -r _ _ _ _ last <<<"$(dmsetup status logged)"
         dd if=/dev/mapper/write-log bs=1M count=$((last / 2048 + 1)) iflag=direct of=/mnt/shared/write-log status=none`,
      );
      const entries = readWriteLog(await readFile(join(host().sharedDir, 'write-log')));
      const last = entries.at(-1);
      return last?.kind === 'mark' && last.text === mark ? entries : undefined;
    });
  }

  function judge(entries: readonly LogEntry[]): Verdict {
    const random = new Random(SEED);
    const verdict: Verdict = {
      ...{ states: 0, volumes: [] },
      ...{ sealed: new Set(), sealedUnflushed: new Set(), wrong: new Map() },
    };
    const disk = Buffer.alloc(DISK_MIB * MIB, EARLIER_TENANT);
    const options = {
      isEarly: (offsetBytes: number) => offsetBytes < METADATA_BYTES,
      randomStates: RANDOM_STATES,
      random: () => random.next(),
    };
    for (const state of crashStates(disk, entries, options)) {
      verdict.states++;
      verdict.volumes = volumesOnDisk(state.disk) ?? [];
      for (const volume of verdict.volumes) {
        const mark = readMark(volume.tags);
        if (mark.state !== 'ready') continue;
        verdict.sealed.add(mark.target);
        if (/early|next ones/.test(state.what)) verdict.sealedUnflushed.add(mark.target);
        if (!holdsImage(contentOnDisk(state.disk, volume), mark.image))
          verdict.wrong.set(mark.target, state.what);
      }
    }
    return verdict;
  }

  function holdsImage(content: Buffer, image: string): boolean {
    const expected = images.get(image) ?? expect.fail(`nobody knows ${image}`);
    const isBegin = expected.equals(content.subarray(0, expected.length));
    const tail = content.subarray(expected.length);
    return isBegin && tail.equals(Buffer.alloc(tail.length));
  }

  beforeAll(async () => {
    await moveSecondGroup(host(), LOGGED_DISK);
    await makeImage('raw.raw', randomBytes(9 * MIB + 512));
    const holes = Buffer.alloc(22 * MIB);
    for (const offset of [0, 11, 19]) randomBytes(MIB).copy(holes, offset * MIB + 512);
    await makeImage('holes.qcow2', holes);
  });

  it('a sealed volume holds its image and zeros in every state a power cut may leave', async () => {
    await fill('raw', 'raw.raw');
    await fill('holes', 'holes.qcow2');
    // One that somebody else has made is taken over.
    await host().sh('virsh vol-create-as others adopted 16M');
    await fill('adopted', 'raw.raw');
    const entries = await takeLog('synced');
    const verdict = judge(entries);
    process.stdout.write(`${entries.length} entries, ${verdict.states} states\n`);
    expect(Object.fromEntries(verdict.wrong)).toEqual({});
    const all = new Set(['raw', 'holes', 'adopted']);
    expect(verdict.sealed).toEqual(all);
    // In some of them nothing but the metadata had been written since the last flush.
    expect(verdict.sealedUnflushed).toEqual(all);

    // The reader of this test sees what LVM sees.
    const { stdout } = await host().sh('lvs --noheadings -o lv_name,lv_tags vg1');
    const seen = verdict.volumes.map(({ name, tags }) => `${name} ${[...tags].sort().join(',')}`).sort();
    const listed = stdout.split('\n').map((line) => {
      const [name = '', tags = ''] = line.trim().split(/\s+/);
      return `${name} ${tags.split(',').sort().join(',')}`;
    });
    expect(seen).toEqual(listed.sort());
  });

  it('and this test would notice a fill that is not synced', async () => {
    await host().sh(
      `cd /usr/lib/${DAEMON}/src/adapters
       grep -q 'await this.#handle.datasync();' block-volume.ts
       sed -i 's/await this.#handle.datasync();//' block-volume.ts
       systemctl restart ${DAEMON}`,
    );
    await fill('unsynced', 'raw.raw');
    const { sealed, wrong } = judge(await takeLog('unsynced'));
    expect(sealed).toContain('unsynced');
    expect([...wrong.keys()]).toEqual(['unsynced']);
  });
});

/**
 * No room left in the state folder, and a clock that jumps. Goal: fills go on or say clearly why not, what is ready
 * can be started, nothing is lost, and afterwards all goes on by itself. Method: the state folder is a small tmpfs
 * that is filled up; the host's clock is set back a day and forward a year. (A full volume group:
 * test/host/refusals.test.ts.)
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { askHook } from './ask-hook.ts';
import { eventually } from './host.ts';
import {
  beginSlowFill,
  define,
  expectFilled,
  failureOf,
  limitRate,
  privateVolumes,
  published,
  useProvisionedHost,
  SLOW_IMAGE_BYTES,
} from './provisioned-host.ts';

const MIB = 1 << 20;
const DAEMON = 'libvirt-volume-provisioner';
const STATE = `/var/lib/${DAEMON}`;
const DAY_S = 86_400;

describe('a host', () => {
  const { host, folder } = useProvisionedHost('scarcity', 'cache: {size_max: 300MiB}');
  let small = '';
  let middle = '';
  let large = '';

  beforeAll(async () => {
    small = join(folder(), 'small.raw');
    middle = join(folder(), 'middle.raw');
    // Larger than what a fill writes without a journal.
    large = join(folder(), 'large.raw');
    await writeFile(small, randomBytes(8 * MIB));
    await writeFile(middle, randomBytes(SLOW_IMAGE_BYTES));
    await writeFile(large, randomBytes(72 * MIB));
    await host().putImage(small, 'small.raw', { sidecar: true });
    await host().putImage(middle, 'middle.raw', { sidecar: true });
    await host().putImage(large, 'large.raw', { sidecar: true });
    await define(host(), { name: 'ready', image: 'small.raw' });
    await published(host(), 'ready');
  });

  afterEach(() => limitRate(host(), undefined));

  async function isAllowed(name: string): Promise<boolean> {
    const xml = (await host().sh(`virsh dumpxml ${name}`)).stdout;
    return (await askHook(host(), xml)).allowed;
  }

  describe('without room in the state folder', () => {
    beforeAll(async () => {
      await host().sh(
        `systemctl stop ${DAEMON}
         cp -a ${STATE} /root/state; mount -t tmpfs -o size=6M,mode=700 tmpfs ${STATE}
         cp -a /root/state/ledger* ${STATE}/; chown -R ${DAEMON}: ${STATE}; systemctl start ${DAEMON}`,
      );
      await published(host(), 'ready');
    });

    const fillUp = () =>
      host().sh(`dd if=/dev/zero of=${STATE}/filler bs=64K status=none`, { reject: false });
    const makeRoom = () => host().sh(`rm -f ${STATE}/filler`);
    afterEach(makeRoom);

    it('fills two volumes from one image, with neither cache nor shared download', async () => {
      await define(host(), { name: 'one', image: 'large.raw' });
      await define(host(), { name: 'two', image: 'large.raw' });
      await expectFilled(host(), 'one', large);
      await expectFilled(host(), 'two', large);
      expect(await privateVolumes(host())).toEqual([]);
      expect((await host().sh(`ls ${STATE}/cache`)).stdout).not.toMatch(/^[0-9a-f]{64}$/m);
    });

    it('and with none for a row of the ledger: what was begun is finished, what is sealed starts, nothing else is begun, and all follows when there is room', async () => {
      await beginSlowFill(host(), { name: 'surprised', image: 'large.raw' });
      await fillUp();
      await limitRate(host(), undefined);
      await eventually('it is sealed', async () => {
        const { stdout } = await host().sh('lvs --noheadings -o lv_tags vg0/surprised');
        return stdout.includes('lvp:ready') ? true : undefined;
      });
      expect(await isAllowed('surprised')).toBe(true);
      await define(host(), { name: 'later', image: 'small.raw' });
      await eventually('it is said', async () => {
        const said = `journalctl -u ${DAEMON} -o cat | grep -m 1 'database or disk is full'`;
        return (await host().sh(said)).stdout;
      });
      expect(await isAllowed('later')).toBe(false);
      expect(await privateVolumes(host())).toEqual([]);
      // It cannot start like that either, and tries again.
      await host().sh(`systemctl kill --signal=KILL ${DAEMON}`);
      expect(await isAllowed('ready')).toBe(true);
      expect(await isAllowed('later')).toBe(false);
      await makeRoom();
      await expectFilled(host(), 'surprised', large);
      await expectFilled(host(), 'later', small);
      expect(await privateVolumes(host())).toEqual([]);
    });
  });

  describe('whose clock jumps', () => {
    let shiftedS = 0;

    async function shiftClock(seconds: number): Promise<void> {
      await host().sh(`date -s "@$(($(date +%s) + ${seconds}))"`);
      shiftedS += seconds;
    }

    afterEach(() => shiftClock(-shiftedS));

    it('a year ahead during a fill, fills as ever, and back again ends every pause', async () => {
      await beginSlowFill(host(), { name: 'during', image: 'middle.raw' });
      await shiftClock(365 * DAY_S);
      await limitRate(host(), undefined);
      await define(host(), { name: 'in-a-year', image: 'small.raw' });
      await expectFilled(host(), 'during', middle);
      await expectFilled(host(), 'in-a-year', small);
      expect(await isAllowed('in-a-year')).toBe(true);
      await host().sh('systemctl stop minio');
      await define(host(), { name: 'paused', image: 'small.raw' });
      expect((await failureOf(host(), 'paused'))?.code).toBe('STORE_UNREACHABLE');
      await shiftClock(-365 * DAY_S);
      await host().sh('systemctl start minio');
      await expectFilled(host(), 'paused', small);
      expect(await privateVolumes(host())).toEqual([]);
    });

    it('back to before the store had its certificate, says that it may be the clock, and goes on', async () => {
      await beginSlowFill(host(), { name: 'interrupted', image: 'middle.raw' });
      await shiftClock(-DAY_S);
      // No connection from before is used again.
      await host().sh(`systemctl restart ${DAEMON}`);
      await limitRate(host(), undefined);
      await define(host(), { name: 'yesterday', image: 'small.raw' });
      const problem = await failureOf(host(), 'yesterday');
      expect(problem?.code).toBe('STORE_UNREACHABLE');
      expect(problem?.hint).toMatch(/clock/);
      await shiftClock(DAY_S);
      await expectFilled(host(), 'yesterday', small);
      await expectFilled(host(), 'interrupted', middle);
      expect(await privateVolumes(host())).toEqual([]);
    });
  });
});

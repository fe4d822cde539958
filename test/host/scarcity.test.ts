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
import { eventually, type ShResult } from './host.ts';
import {
  define,
  deviceDigest,
  expectedDigest,
  limitRate,
  privateVolumes,
  published,
  statusOf,
  useProvisionedHost,
} from './provisioned-host.ts';

const MIB = 1 << 20;
const DAEMON = 'libvirt-volume-provisioner';
const STATE = `/var/lib/${DAEMON}`;
const HOOK = `/etc/libvirt/hooks/qemu.d/50-${DAEMON}`;
const DAY_S = 86_400;

describe('a host', () => {
  const { host, folder } = useProvisionedHost('scarcity', 'cache: {size_max: 300MiB}');
  let small = '';
  let large = '';

  beforeAll(async () => {
    small = join(folder(), 'small.raw');
    // Larger than what a fill writes without a journal.
    large = join(folder(), 'large.raw');
    await writeFile(small, randomBytes(8 * MIB));
    await writeFile(large, randomBytes(88 * MIB));
    await host().putImage(small, 'small.raw', { sidecar: true });
    await host().putImage(large, 'large.raw', { sidecar: true });
    await define(host(), { name: 'ready', image: 'small.raw' });
    await published(host(), 'ready');
  });

  afterEach(() => limitRate(host(), undefined));

  async function beginFill(name: string): Promise<void> {
    await limitRate(host(), 8);
    await define(host(), { name, image: 'large.raw' });
    await eventually('bytes flow', async () => {
      const [volume] = (await statusOf(host(), name)).volumes;
      return (volume?.bytesDone ?? 0) > 0 ? true : undefined;
    });
    // So slow that it cannot end before it is let, however busy this machine is.
    await limitRate(host(), 0.125);
  }

  async function expectRight(name: string, image = large): Promise<void> {
    await published(host(), name);
    expect(await deviceDigest(host(), `/dev/vg0/${name}`)).toBe(await expectedDigest(image, 'raw'));
    expect(await privateVolumes(host())).toEqual([]);
  }

  /** Whatever else is so, that may start, and that may not. */
  async function expectGate(name: string, exitCode: number): Promise<ShResult> {
    const asked = await host().sh(`virsh dumpxml ${name} | ${HOOK} ${name} prepare begin -`, {
      reject: false,
    });
    expect(asked.exitCode).toBe(exitCode);
    return asked;
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
      host().sh(`dd if=/dev/zero of=${STATE}/filler bs=64K status=none; df ${STATE}`, { reject: false });
    const makeRoom = () => host().sh(`rm -f ${STATE}/filler`);
    afterEach(makeRoom);

    it('fills two volumes from one image, with neither cache nor shared download', async () => {
      await define(host(), { name: 'one', image: 'large.raw' });
      await define(host(), { name: 'two', image: 'large.raw' });
      await expectRight('one');
      await expectRight('two');
      expect((await host().sh(`ls ${STATE}/cache`)).stdout).not.toMatch(/^[0-9a-f]{64}$/m);
    });

    it('that fills up during a fill, ends it, and the ledger follows when there is room', async () => {
      await beginFill('surprised');
      await fillUp();
      await limitRate(host(), undefined);
      await eventually(
        'it is sealed',
        async () =>
          (await host().sh('lvs --noheadings -o lv_tags vg0/surprised')).stdout.includes('lvp:ready') ||
          undefined,
        { timeoutMs: 120_000 },
      );
      await expectGate('surprised', 0);
      await makeRoom();
      await expectRight('surprised');
    });

    it('that is full: what is ready starts, what is not is refused, and filled when there is room', async () => {
      await fillUp();
      await define(host(), { name: 'later', image: 'small.raw' });
      await eventually('it is said', async () => {
        const { stdout } = await host().sh(
          `journalctl -u ${DAEMON} -o cat | grep -m 1 'database or disk is full'`,
        );
        return stdout;
      });
      await expectGate('ready', 0);
      await expectGate('later', 1);
      expect(await privateVolumes(host())).toEqual([]);
      await makeRoom();
      await expectRight('later', small);
    });

    it('that is full when it starts, says so, and starts when there is room', async () => {
      await fillUp();
      await host().sh(`systemctl kill --signal=KILL ${DAEMON}`);
      await expectGate('ready', 0);
      await makeRoom();
      await define(host(), { name: 'restarted', image: 'small.raw' });
      await expectRight('restarted', small);
    });
  });

  describe('whose clock jumps', () => {
    let shiftedS = 0;

    async function shiftClock(seconds: number): Promise<void> {
      await host().sh(`date -s "@$(($(date +%s) + ${seconds}))"`);
      shiftedS += seconds;
    }

    afterEach(() => shiftClock(-shiftedS));

    it.each([
      ['back', -DAY_S],
      ['ahead', 365 * DAY_S],
    ])('far %s during a fill, goes on with it', async (name, seconds) => {
      await beginFill(`during-${name}`);
      await shiftClock(seconds);
      await limitRate(host(), undefined);
      // New connections may be refused until the clock is right again.
      await eventually('it has ended one way or the other', async () => {
        const [volume] = (await statusOf(host(), `during-${name}`)).volumes;
        return volume?.state === 'ready' || volume?.state === 'failed' ? true : undefined;
      });
      await shiftClock(-seconds);
      await expectRight(`during-${name}`);
    });

    it('a year ahead, fills as ever', async () => {
      await shiftClock(365 * DAY_S);
      await define(host(), { name: 'in-a-year', image: 'small.raw' });
      await expectRight('in-a-year', small);
      await expectGate('in-a-year', 0);
    });

    it('back to before the store had its certificate, says that it may be the clock', async () => {
      await shiftClock(-DAY_S);
      // No connection from before is used again.
      await host().sh(`systemctl restart ${DAEMON}`);
      await define(host(), { name: 'yesterday', image: 'small.raw' });
      const { problem } = await eventually(
        'it has failed',
        async () => {
          const [volume] = (await statusOf(host(), 'yesterday')).volumes;
          return volume?.state === 'failed' ? volume : undefined;
        },
        { timeoutMs: 120_000 },
      );
      expect(problem?.code).toBe('STORE_UNREACHABLE');
      expect(problem?.hint).toMatch(/clock/);
      await shiftClock(DAY_S);
      await expectRight('yesterday', small);
    });

    it('back from a year ahead, ends every pause', async () => {
      await shiftClock(365 * DAY_S);
      await host().sh('systemctl stop minio');
      await define(host(), { name: 'paused', image: 'small.raw' });
      await eventually(
        'it has failed',
        async () => {
          const [volume] = (await statusOf(host(), 'paused')).volumes;
          return volume?.state === 'failed' ? volume : undefined;
        },
        { timeoutMs: 120_000 },
      );
      await shiftClock(-365 * DAY_S);
      await host().sh('systemctl start minio');
      await expectRight('paused', small);
    });
  });
});

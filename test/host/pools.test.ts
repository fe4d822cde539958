/**
 * Goal: whatever others do with a pool, everything annotated is published in the end, nobody's volume is lost, a
 * pool that stopped by itself comes back into use, and one that was stopped stays so. Method: virsh and LVM beside
 * the real daemon, with a hundred other volumes in the group, which makes a refresh take long enough to trip.
 */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { eventually } from './host.ts';
import {
  define,
  deviceDigest,
  expectedDigest,
  limitRate,
  privateVolumes,
  published,
  putRandomImages,
  statusOf,
  useProvisionedHost,
} from './provisioned-host.ts';

const OTHERS = 100;
const LIMIT_MS = 300_000;
const DAEMON = 'libvirt-volume-provisioner';

describe('a pool', () => {
  const { host, folder } = useProvisionedHost('pools');

  beforeAll(async () => {
    await putRandomImages(host(), folder(), { 'quick.raw': 1, 'slow.raw': 64 });
    await host().sh(
      `for number in $(seq ${OTHERS}); do lvcreate --yes -qq --zero n --wipesignatures n --size 4M --name other$number vg0; done
       virsh pool-refresh guests`,
      { timeoutMs: LIMIT_MS },
    );
  });

  async function isActive(): Promise<boolean> {
    return (await host().sh('virsh pool-info guests')).stdout.includes('running');
  }

  async function log(): Promise<string> {
    return (await host().sh(`journalctl -u ${DAEMON} -o cat`)).stdout;
  }

  async function expectOthersThere(): Promise<void> {
    const { stdout } = await host().sh('lvs --noheadings -o lv_name,lv_active vg0');
    const rows = stdout.split('\n').map((line) => line.trim().split(/ +/));
    const others = rows.filter(([name]) => /^other\d+$/.test(name ?? ''));
    expect(others).toHaveLength(OTHERS);
    expect(rows.filter(([, active]) => active !== 'active')).toEqual([]);
  }

  async function expectRight(name: string, key: string): Promise<void> {
    await published(host(), name, LIMIT_MS);
    expect(await deviceDigest(host(), `/dev/vg0/${name}`)).toBe(
      await expectedDigest(join(folder(), key), 'raw'),
    );
    await eventually(`libvirt knows ${name}`, () => host().sh(`virsh vol-info --pool guests ${name}`), {
      timeoutMs: LIMIT_MS,
    });
  }

  /** Defines a domain that can never be filled: what is noted of it was decided on a reading as young as that. */
  async function looked(name: string, state: 'held' | 'failed'): Promise<void> {
    await define(host(), { name, image: 'absent.raw' });
    await eventually(
      `${name} is ${state}`,
      async () => (await statusOf(host(), name)).volumes[0]?.state === state || undefined,
      { timeoutMs: LIMIT_MS },
    );
  }

  async function beginSlowFill(name: string): Promise<void> {
    await limitRate(host(), 2);
    await define(host(), { name, image: 'slow.raw' });
    await eventually(
      `${name} is being written`,
      async () => ((await statusOf(host(), name)).volumes[0]?.bytesDone ?? 0) > 0 || undefined,
      { timeoutMs: LIMIT_MS },
    );
  }

  /** Removes active volumes beside refreshes until one of these fails, which stops the pool. */
  async function failARefresh(): Promise<void> {
    const { stdout } = await host().sh(
      `rm -f /tmp/failed /tmp/enough
       ( count=0; while [ ! -e /tmp/enough ]; do
           count=$((count + 1)); virsh pool-refresh guests >/dev/null 2>/tmp/why || { echo $count >/tmp/failed; break; }
         done ) &
       for round in $(seq 60); do
         for number in 1 2 3 4; do lvcreate --yes -qq --zero n --wipesignatures n --size 4M --name churn$number vg0; done
         for number in 1 2 3 4; do [ -e /tmp/failed ] || lvremove --yes -qq vg0/churn$number; done
         [ ! -e /tmp/failed ] || break
       done
       touch /tmp/enough; wait
       lvs --noheadings -o lv_name vg0 | grep churn | while read name; do lvremove --yes -qq vg0/$name; done
       cat /tmp/failed /tmp/why 2>/dev/null`,
      { reject: false, timeoutMs: LIMIT_MS },
    );
    process.stdout.write(`refreshes until one failed: ${stdout}\n`);
    if (!/^[1-9]/.test(stdout)) throw new Error('no refresh has failed: this test shows nothing');
  }

  it('that is stopped pauses what is asked for, is not started by us, and goes on when it is started', async () => {
    await host().sh('virsh pool-destroy guests');
    await define(host(), { name: 'paused', image: 'quick.raw' });
    await looked('looked-at', 'held');
    expect((await statusOf(host(), 'paused')).volumes).toMatchObject([
      { state: 'held', problem: { code: 'POOL_INACTIVE' } },
    ]);
    const refused = await host().sh('virsh start paused', { reject: false });
    expect(refused.stderr).toContain('virsh pool-start guests');
    await host().sh(`systemctl restart ${DAEMON}`);
    await looked('looked-at-again', 'held');
    expect(await isActive()).toBe(false);
    await host().sh('virsh pool-start guests');
    await expectRight('paused', 'quick.raw');
    await expectOthersThere();
  });

  it('with a fill under way is not stopped by libvirt, and comes back by itself when a failed refresh has stopped it', async () => {
    await beginSlowFill('during');
    const { exitCode, stderr } = await host().sh('virsh pool-destroy guests', { reject: false });
    expect(stderr).toContain('in use');
    expect(exitCode).not.toBe(0);
    // The fill may end before the pool has stopped: this one stays open, and is seen so while the pool is active.
    await host().sh(
      `systemd-run --quiet --unit=user sh -c 'exec 3</dev/vg0/other1; touch /run/open; sleep 3600'
       until [ -e /run/open ]; do sleep 0.1; done`,
    );
    await looked('looked-at-open', 'failed');
    await failARefresh();
    await eventually('the pool is active again', async () => (await isActive()) || undefined, {
      timeoutMs: LIMIT_MS,
    });
    expect(await log()).toMatch(/the pool was started again/);
    await limitRate(host(), undefined);
    await expectRight('during', 'slow.raw');
    await expectOthersThere();
  });

  it('that was refreshed in a loop during fills, cancels and deletes has everything in the end', async () => {
    await host().sh(
      `rm -f /tmp/enough /tmp/failures; systemd-run --quiet --unit=refresher sh -c \
         'while [ ! -e /tmp/enough ]; do virsh pool-refresh guests >/dev/null 2>&1 || echo failed >>/tmp/failures; done'`,
    );
    await limitRate(host(), 2);
    for (const name of ['kept', 'cancelled', 'undefined']) await define(host(), { name, image: 'slow.raw' });
    await eventually('a private volume', async () => (await privateVolumes(host())).length > 0 || undefined, {
      timeoutMs: LIMIT_MS,
    });
    await host().sh('lvp cancel cancelled; virsh undefine undefined; virsh vol-delete during --pool guests', {
      timeoutMs: LIMIT_MS,
    });
    await host().sh('lvp cancel kept; lvp retry kept; lvp retry cancelled', {
      reject: false,
      timeoutMs: LIMIT_MS,
    });
    await limitRate(host(), undefined);
    await define(host(), { name: 'more', image: 'quick.raw' });
    for (const name of ['kept', 'cancelled']) await expectRight(name, 'slow.raw');
    await expectRight('more', 'quick.raw');
    await host().sh('touch /tmp/enough');
    await eventually(
      'nothing is left',
      async () => (await privateVolumes(host())).length === 0 || undefined,
      {
        timeoutMs: LIMIT_MS,
      },
    );
    const { stdout } = await host().sh('cat /tmp/failures 2>/dev/null; true');
    process.stdout.write(
      `refreshes that failed: ${stdout.split('\n').filter((line) => line !== '').length}\n`,
    );
    // A refresh that meets the renaming of a volume may fail: with a volume in use the pool comes back.
    await eventually('the pool is active', async () => (await isActive()) || undefined, {
      timeoutMs: LIMIT_MS,
    });
    await host().sh('systemctl stop user');
    await expectOthersThere();
  });

  it('that somebody else’s refresh has stopped while nothing was in use stays stopped, and that is said', async () => {
    const startsBefore = (await log()).split('the pool was started again').length;
    await failARefresh();
    await looked('looked-at-last', 'held');
    expect(await isActive()).toBe(false);
    const [volume] = (await statusOf(host(), 'paused')).volumes;
    expect(volume?.problem?.hint).toContain('virsh pool-start guests');
    await host().sh('virsh pool-start guests');
    await expectOthersThere();
    await define(host(), { name: 'afterwards', image: 'quick.raw' });
    await expectRight('afterwards', 'quick.raw');
    expect((await log()).split('the pool was started again')).toHaveLength(startsBefore);
  });
});

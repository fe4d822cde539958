/**
 * Everything around the provisioner, and itself, ends and comes back while a guest runs. Goal: the guest never
 * notices, what is defined right afterwards is filled without anybody's help, and a fill under way ends well.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from './host.ts';
import {
  beginSlowFill,
  define,
  expectFilled,
  limitRate,
  privateVolumes,
  published,
  statusOf,
  useProvisionedHost,
  SLOW_IMAGE_BYTES,
} from './provisioned-host.ts';

const MIB = 1 << 20;
/** Long before the next look at everything the fill of a domain defined right after a restart begins. */
const NOTICED_WITHIN_MS = 60_000;

const DAEMON = 'libvirt-volume-provisioner.service';
const HELPER = 'libvirt-volume-provisioner-helper.service';
/** Only a service that runs can be killed, and the helper ends when it has had nothing to do. */
const KILL_HELPER = `lvp list >/dev/null; systemctl kill --kill-whom=main --signal=KILL ${HELPER}`;
const signalDaemon = (signal: string) => `systemctl kill --kill-whom=main --signal=${signal} ${DAEMON}`;

/**
 * libvirtd ends with the bus and is started again; then it asks systemd-logind to keep the machine from sleeping
 * while a guest runs. logind has lost its name on the bus and takes it again only when restarted: without that,
 * libvirtd holds the running domain, and so every list of domains, for the 25 s until the bus gives up.
 *
 *   $ systemctl restart dbus; sleep 5; time virsh domstate guest
 */
const RESTART_BUS = 'systemctl restart dbus systemd-logind';

describe('with a running guest', () => {
  const { host, folder } = useProvisionedHost('restarts');
  let small = '';
  let large = '';
  /** Process id and start time of the guest's QEMU. */
  let guest = '';

  async function runningGuest(): Promise<string> {
    const { stdout } = await host().sh(
      `pid=$(cat /run/libvirt/qemu/guest.pid) && echo "$pid $(cut -d' ' -f22 /proc/$pid/stat)"`,
    );
    return stdout;
  }

  beforeAll(async () => {
    small = join(folder(), 'small.raw');
    large = join(folder(), 'large.raw');
    const { stdout: sector } = await execa(join(import.meta.dirname, 'boot-sector'), { encoding: 'buffer' });
    await writeFile(small, Buffer.concat([sector, randomBytes(4 * MIB - sector.length)]));
    await writeFile(large, randomBytes(SLOW_IMAGE_BYTES));
    await host().putImage(small, 'small.raw', { sidecar: true });
    await host().putImage(large, 'large.raw', { sidecar: true });
    await define(host(), { name: 'guest', image: 'small.raw' });
    await published(host(), 'guest');
  });

  afterEach(async () => {
    await limitRate(host(), undefined);
    expect(await runningGuest()).toBe(guest);
  });

  it('that was started while the daemon hung in the middle of a fill, the fill ends well', async () => {
    await beginSlowFill(host(), { name: 'during-hang', image: 'large.raw' });
    await host().sh(signalDaemon('STOP'));
    await host().sh('virsh start guest', { timeoutMs: 180_000 });
    guest = await runningGuest();
    await host().sh(signalDaemon('CONT'));
    await limitRate(host(), undefined);
    await expectFilled(host(), 'during-hang', large);
    expect(await privateVolumes(host())).toEqual([]);
  });

  it.each([
    ['libvirtd-restart', 'systemctl restart libvirtd'],
    ['libvirt-dbus-kill', 'kill -KILL $(pidof libvirt-dbus)'],
    ['bus-restart', RESTART_BUS],
    ['daemon-kill', signalDaemon('KILL')],
    ['helper-kill', KILL_HELPER],
  ])('a fill ends well, and what is defined right afterwards is filled: %s', async (name, disturbance) => {
    const [during, after] = [`during-${name}`, `after-${name}`];
    await beginSlowFill(host(), { name: during, image: 'large.raw' });
    expect(await privateVolumes(host())).toHaveLength(1);
    await host().sh(disturbance);
    await define(host(), { name: after, image: 'small.raw' });
    await eventually('its fill has begun', async () => (await statusOf(host(), after)).volumes[0]?.fillId, {
      timeoutMs: NOTICED_WITHIN_MS,
    });
    // Nothing under the final name before its time, whatever was restarted.
    expect((await host().sh('lvs vg0 --noheadings -o lv_name')).stdout).not.toContain(during);
    await limitRate(host(), undefined);
    await expectFilled(host(), during, large);
    await expectFilled(host(), after, small);
    expect(await privateVolumes(host())).toEqual([]);
    const { stdout } = await host().sh('lvp list; virsh domstate guest');
    expect(stdout).toMatch(new RegExp(`^${during} +vda +ready`, 'm'));
    expect(stdout).toMatch(new RegExp(`^${after} +vda +ready`, 'm'));
    expect(stdout).toMatch(/^running$/m);
  });
});

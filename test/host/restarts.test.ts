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
/** So soon the fill of a domain defined right after a restart begins. */
const NOTICED_WITHIN_MS = 15_000;

const DAEMON = 'libvirt-volume-provisioner.service';
const HELPER = 'libvirt-volume-provisioner-helper.service';
/** Only a service that runs can be killed, and the helper ends when it has had nothing to do. */
const KILL_HELPER = `lvp list >/dev/null; systemctl kill --kill-whom=main --signal=KILL ${HELPER}`;
const KILL_DAEMON = `systemctl kill --kill-whom=main --signal=KILL ${DAEMON}`;
/** For longer than it waits for a byte of the store. */
const HANG_DAEMON = `systemctl kill --kill-whom=main --signal=STOP ${DAEMON}; sleep 32
  systemctl kill --kill-whom=main --signal=CONT ${DAEMON}`;

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
    await writeFile(small, Buffer.concat([sector, randomBytes(8 * MIB - sector.length)]));
    await writeFile(large, randomBytes(48 * MIB));
    await host().putImage(small, 'small.raw', { sidecar: true });
    await host().putImage(large, 'large.raw', { sidecar: true });
    await define(host(), { name: 'guest', image: 'small.raw' });
    await published(host(), 'guest');
    await host().sh('virsh start guest', { timeoutMs: 180_000 });
    guest = await runningGuest();
  });

  afterEach(async () => {
    await limitRate(host(), undefined);
    expect(await runningGuest()).toBe(guest);
  });

  it.each([
    ['libvirtd-restart', 'systemctl restart libvirtd'],
    ['libvirt-dbus-kill', 'kill -KILL $(pidof libvirt-dbus)'],
    ['bus-restart', RESTART_BUS],
    ['daemon-restart', `systemctl restart ${DAEMON}`],
    ['daemon-kill', KILL_DAEMON],
    ['helper-kill', KILL_HELPER],
  ])('fills what is defined right after %s', async (name, disturbance) => {
    await host().sh(disturbance);
    await define(host(), { name, image: 'small.raw' });
    await eventually('its fill has begun', async () => (await statusOf(host(), name)).volumes[0]?.fillId, {
      timeoutMs: NOTICED_WITHIN_MS,
    });
    await published(host(), name);
    expect(await deviceDigest(host(), `/dev/vg0/${name}`)).toBe(await expectedDigest(small, 'raw'));
    expect(await privateVolumes(host())).toEqual([]);
    const { stdout } = await host().sh('lvp list; virsh domstate guest');
    expect(stdout).toMatch(new RegExp(`^${name} +vda +ready`, 'm'));
    expect(stdout).toMatch(/^running$/m);
  });

  it.each([
    ['during-libvirtd-restart', 'systemctl restart libvirtd'],
    ['during-libvirt-dbus-kill', 'kill -KILL $(pidof libvirt-dbus)'],
    ['during-bus-restart', RESTART_BUS],
    ['during-daemon-kill', KILL_DAEMON],
    ['during-daemon-hang', HANG_DAEMON],
    ['during-helper-kill', KILL_HELPER],
  ])('ends a fill well: %s', async (name, disturbance) => {
    await limitRate(host(), 2);
    await define(host(), { name, image: 'large.raw' });
    await eventually('bytes flow', async () => {
      const [volume] = (await statusOf(host(), name)).volumes;
      return (volume?.bytesDone ?? 0) > 0 ? true : undefined;
    });
    // So slow that it cannot end before the disturbance, however busy this machine is.
    await limitRate(host(), 0.125);
    expect(await privateVolumes(host())).toHaveLength(1);
    await host().sh(disturbance);
    // Nothing under the final name before its time, whatever was restarted.
    expect((await host().sh('lvs vg0 --noheadings -o lv_name')).stdout).not.toMatch(
      new RegExp(`\\b${name}\\b`),
    );
    await limitRate(host(), undefined);
    await published(host(), name);
    expect(await deviceDigest(host(), `/dev/vg0/${name}`)).toBe(await expectedDigest(large, 'raw'));
    expect(await privateVolumes(host())).toEqual([]);
    expect((await host().sh('lvp list')).stdout).toMatch(new RegExp(`^${name} +vda +ready`, 'm'));
  });
});

/**
 * Goal: whatever is stuck, the gate answers: yes to what is sealed for the domain, no with a reason to everything
 * else; and when it is stuck no more, all goes on by itself. Method: one part after the other is stopped in a real
 * host, the installed hook is asked, and a domain is defined meanwhile, whose volume must be published afterwards.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { askHook } from './ask-hook.ts';
import { eventually } from './host.ts';
import {
  define,
  deviceDigest,
  domainXml,
  expectedDigest,
  limitRate,
  moveSecondGroup,
  privateVolumes,
  published,
  putRandomImages,
  statusOf,
  useProvisionedHost,
} from './provisioned-host.ts';

const DAEMON = 'libvirt-volume-provisioner';
/** What waited may have to wait for its next try, and before that for a command that is ended after a minute. */
const RECOVERY_LIMIT_MS = 600_000;

interface Stuck {
  readonly what: string;
  readonly begin: string;
  readonly end: string;
}

const STUCK: readonly Stuck[] = [
  { what: 'MinIO', begin: 'systemctl kill --signal=STOP minio', end: 'systemctl kill --signal=CONT minio' },
  {
    what: 'the lock of the volume group',
    begin: `systemd-run --quiet --unit=holder flock /run/lock/lvm/V_vg0 sh -c 'touch /run/held; sleep 3600'
            until [ -e /run/held ]; do sleep 0.1; done`,
    end: 'systemctl stop holder; rm -f /run/held',
  },
  {
    // In another group: what is sealed in this one starts all the same.
    what: 'a physical volume',
    begin: 'dmsetup suspend slow-pv',
    end: 'dmsetup resume slow-pv',
  },
  {
    what: 'udev',
    begin: 'systemctl kill --signal=STOP systemd-udevd',
    end: 'systemctl kill --signal=CONT systemd-udevd',
  },
  {
    what: 'libvirt-dbus',
    begin: 'kill -STOP $(pidof libvirt-dbus)',
    end: 'kill -CONT $(pidof libvirt-dbus)',
  },
  {
    what: 'the helper',
    begin: `lvp list >/dev/null; systemctl kill --signal=STOP ${DAEMON}-helper.service`,
    end: `systemctl kill --signal=CONT ${DAEMON}-helper.service`,
  },
];

describe('the gate', () => {
  const { host, folder } = useProvisionedHost('stuck');
  let readyXml = '';
  /** What the hook says may take as long as an answer of the daemon and its own look at the seals. */
  let limitMs = 0;

  beforeAll(async () => {
    await putRandomImages(host(), folder(), { 'quick.raw': 1, 'slow.raw': 64 });
    // With an offset: LVM would take the disk below for another copy of it.
    await moveSecondGroup(
      host(),
      `pv=/dev/mapper/slow-pv
       dmsetup create slow-pv --table "0 $(($(blockdev --getsz /dev/ubdc) - 2048)) linear /dev/ubdc 2048"`,
    );
    await define(host(), { name: 'ready', image: 'quick.raw' });
    await published(host(), 'ready');
    readyXml = (await host().sh('virsh dumpxml --inactive ready')).stdout;
    limitMs = 10 * 1000 * Number((await host().sh(`cat /run/${DAEMON}/gate-seconds`)).stdout);
    expect(limitMs).toBeGreaterThan(0);
  });

  afterEach(async () => {
    for (const { end } of STUCK) await host().sh(`${end} 2>/dev/null; true`);
    await limitRate(host(), undefined);
  });

  it.each(STUCK)('answers while $what is stuck, and all goes on afterwards', async ({ what, begin, end }) => {
    const name = `while-${what.replaceAll(/\W/g, '-').toLowerCase()}`;
    // A quick fill might end within the grace, for not all of these keep it from beginning.
    await limitRate(host(), 2);
    await host().sh(begin);
    await define(host(), { name, image: 'slow.raw' });
    const unready = (await host().sh(`virsh dumpxml --inactive ${name}`)).stdout;
    const ofOthers = domainXml({ name: 'stranger', image: 'quick.raw', lv: 'ready', uuid: randomUUID() });
    // Twice, for the second time they meet whatever the first has left waiting.
    for (const time of ['first', 'second']) {
      const [ofReady, ofUnready, ofStranger] = await Promise.all(
        [readyXml, unready, ofOthers].map((xml) => askHook(host(), xml)),
      );
      const answers = [ofReady, ofUnready, ofStranger];
      process.stdout.write(`${what} stuck, asked ${time}: ${JSON.stringify(answers)}\n`);
      for (const answer of answers) expect(answer?.tookMs).toBeLessThan(limitMs);
      expect(ofReady).toMatchObject({ allowed: true, message: '' });
      expect(ofUnready?.allowed).toBe(false);
      expect(ofUnready?.message).toMatch(/is not started: .*(vda|volume)/);
      expect(ofStranger?.allowed).toBe(false);
      expect(ofStranger?.message).toMatch(/published for domain|has no seal that proves it finished/);
    }
    await host().sh(end);
    await limitRate(host(), undefined);
    await published(host(), name, RECOVERY_LIMIT_MS);
    expect(await deviceDigest(host(), `/dev/vg0/${name}`)).toBe(
      await expectedDigest(join(folder(), 'slow.raw'), 'raw'),
    );
    expect(await privateVolumes(host())).toEqual([]);
    // By the daemon again, not by the hook alone.
    await eventually(
      'the gate knows it',
      async () => {
        const { allowed } = await askHook(host(), unready);
        return allowed || undefined;
      },
      { timeoutMs: 120_000 },
    );
  });

  it('answers four starts at once, and libvirt-dbus answers others meanwhile', async () => {
    await limitRate(host(), 2);
    const names = ['one', 'two', 'three', 'four'];
    for (const name of names) await define(host(), { name, image: 'slow.raw' });
    await eventually(
      'the first fill has begun',
      async () => ((await statusOf(host(), 'one')).volumes[0]?.bytesDone ?? 0) > 0 || undefined,
      { timeoutMs: 120_000 },
    );
    const starts = Promise.all(
      names.map((name) => host().sh(`virsh start ${name}`, { reject: false, timeoutMs: limitMs })),
    );
    // One question after the other, until the last start has been answered.
    const { stdout } = await host().sh(
      `sleep 1; for count in 1 2 3 4 5; do
         timeout 10 busctl get-property org.libvirt /org/libvirt/QEMU org.libvirt.Connect LibVersion
         timeout 10 busctl call org.libvirt /org/libvirt/QEMU org.libvirt.Connect ListStoragePools u 0
       done`,
    );
    expect(stdout.split('\n').filter((line) => line !== '')).toHaveLength(10);
    for (const { stderr, exitCode } of await starts) {
      expect(exitCode).not.toBe(0);
      // By the daemon, or by the seals where four readings at once took this host too long.
      expect(stderr).toMatch(/is not started: .*(Disk vda is being filled|has no seal)/);
    }
    const { stdout: log } = await host().sh(`journalctl -u ${DAEMON} -o cat --since -2min`);
    expect(log).not.toContain('pile up');
    await limitRate(host(), undefined);
    for (const name of names) await published(host(), name, RECOVERY_LIMIT_MS);
  });
});

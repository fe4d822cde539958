/**
 * Processes that end, hang or are too many, where test/host/restarts.test.ts does not look: the helper killed
 * around each change it makes to LVM, the daemon that hangs until systemd ends it, LVM's lock held by somebody
 * else, a hook that cannot be run, and twenty starts at once.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from './host.ts';
import {
  define,
  deviceDigest,
  domainXml,
  expectedDigest,
  limitRate,
  privateVolumes,
  published,
  statusOf,
  useProvisionedHost,
} from './provisioned-host.ts';

const MIB = 1 << 20;
const DAEMON = 'libvirt-volume-provisioner';
const HOOK = `/etc/libvirt/hooks/qemu.d/50-${DAEMON}`;
const STARTS = 20;

/**
 * Passes every call on to LVM. Around the first call that the pattern in /run/kill-at describes, the helper, whose
 * child this is, is killed, and systemd ends this one with it.
 */
const LVM_WRAPPER = `#!/bin/bash
call="\${0##*/} $*"
lvm() { (exec -a "\${0##*/}" /usr/lib/lvm-of-the-host "$@"); }
if [ -e /run/kill-at ]; then
  read -r when pattern </run/kill-at
  if [[ $call == $pattern ]]; then
    rm /run/kill-at
    [ "$when" = before ] || lvm "$@"
    touch /run/killed
    kill -KILL $PPID
    exec sleep infinity
  fi
fi
exec -a "\${0##*/}" /usr/lib/lvm-of-the-host "$@"
`;

describe('the provisioner', () => {
  const { host, folder } = useProvisionedHost('processes');
  let image = '';
  let slow = '';

  beforeAll(async () => {
    image = join(folder(), 'image.raw');
    slow = join(folder(), 'slow.raw');
    await writeFile(image, randomBytes(8 * MIB));
    await writeFile(slow, randomBytes(48 * MIB));
    await host().putImage(image, 'image.raw', { sidecar: true });
    await host().putImage(slow, 'slow.raw', { sidecar: true });
    await host().sh(
      'mv /usr/sbin/lvm /usr/lib/lvm-of-the-host; cat >/usr/sbin/lvm; chmod 755 /usr/sbin/lvm',
      {
        input: LVM_WRAPPER,
      },
    );
  });

  afterEach(async () => {
    await limitRate(host(), undefined);
  });

  async function beginSlowFill(name: string): Promise<void> {
    await limitRate(host(), 2);
    await define(host(), { name, image: 'slow.raw' });
    await eventually('bytes flow', async () => {
      const [volume] = (await statusOf(host(), name)).volumes;
      return (volume?.bytesDone ?? 0) > 0 ? true : undefined;
    });
    // So slow that it cannot end before it is let, however busy this machine is.
    await limitRate(host(), 0.125);
  }

  async function expectRight(name: string, from = image): Promise<void> {
    await published(host(), name);
    expect(await deviceDigest(host(), `/dev/vg0/${name}`)).toBe(await expectedDigest(from, 'raw'));
    expect(await privateVolumes(host())).toEqual([]);
  }

  it.each([
    ['made', 'before lvcreate *lvp-fill-*'],
    ['made', 'after lvcreate *lvp-fill-*'],
    ['sealed', 'before lvchange *lvp:ready*'],
    ['sealed', 'after lvchange *lvp:ready*'],
    ['renamed', 'before lvrename vg0 lvp-fill-*'],
    ['renamed', 'after lvrename vg0 lvp-fill-*'],
  ])('ends well though its helper is killed when the volume is %s (%s)', async (what, moment) => {
    const name = `${what}-${moment.split(' ')[0] ?? ''}`;
    await host().sh('rm -f /run/killed; cat >/run/kill-at', { input: `${moment}\n` });
    await define(host(), { name, image: 'image.raw' });
    await eventually('the helper is killed', async () => (await host().sh('ls /run/killed')).stdout);
    await expectRight(name);
  });

  it('that hangs is ended by systemd, and goes on', async () => {
    await host().sh(
      `mkdir -p /run/systemd/system/${DAEMON}.service.d
       printf '[Service]\\nWatchdogSec=8\\nTimeoutAbortSec=2\\n' >/run/systemd/system/${DAEMON}.service.d/test.conf
       systemctl daemon-reload; systemctl restart ${DAEMON}`,
    );
    await beginSlowFill('hung');
    const before = (await host().sh(`systemctl show --value --property=MainPID ${DAEMON}`)).stdout;
    await host().sh(`systemctl kill --kill-whom=main --signal=STOP ${DAEMON}`);
    await limitRate(host(), undefined);
    await eventually('another daemon runs', async () => {
      const { stdout } = await host().sh(
        `systemctl is-active ${DAEMON}; systemctl show --value -p MainPID ${DAEMON}`,
      );
      return stdout.startsWith('active\n') && stdout !== `active\n${before}` ? true : undefined;
    });
    await expectRight('hung', slow);
    await host().sh(
      `rm -r /run/systemd/system/${DAEMON}.service.d; systemctl daemon-reload; systemctl restart ${DAEMON}`,
    );
  });

  it('tells who keeps the lock of LVM from it, and goes on when it is free', async () => {
    // The helper's own limit of a minute is shortened: nothing else depends on it.
    await host().sh(
      `cd /usr/lib/${DAEMON}/src/helper
       grep -q 'COMMAND_TIME_MAX_MS = 60_000' command.ts
       sed -i 's/COMMAND_TIME_MAX_MS = 60_000/COMMAND_TIME_MAX_MS = 4_000/' command.ts
       systemctl stop ${DAEMON}-helper.service`,
    );
    await beginSlowFill('locked');
    await host().sh(
      `systemd-run --quiet --unit lock-holder flock /run/lock/lvm/V_vg0 sleep infinity
       until [ -n "$(flock -n /run/lock/lvm/V_vg0 true || echo held)" ]; do sleep 0.1; done`,
    );
    await limitRate(host(), undefined);
    const said = await eventually(
      'somebody is told',
      async () => {
        const { stdout } = await host().sh(
          `journalctl -u ${DAEMON} -o cat | grep -m 1 'another LVM command'`,
        );
        return stdout;
      },
      { timeoutMs: 60_000 },
    );
    expect(said).toContain('TIMEOUT');
    await host().sh('systemctl stop lock-holder');
    await expectRight('locked', slow);
  });

  it('is not needed for a start to be refused, nor is a hook that can be run', async () => {
    await beginSlowFill('unguarded');
    await host().sh(`chmod 644 ${HOOK}; systemctl stop ${DAEMON}; systemctl reload libvirtd`);
    const refused = await host().sh('virsh start unguarded', { reject: false });
    expect(refused.exitCode).not.toBe(0);
    await host().sh(`chmod 755 ${HOOK}; systemctl reload libvirtd; systemctl start ${DAEMON}`);
    await limitRate(host(), undefined);
    await expectRight('unguarded', slow);
  });

  it(`answers ${STARTS} starts at once, each of them rightly`, async () => {
    await define(host(), { name: 'ready', image: 'image.raw' });
    await published(host(), 'ready');
    await beginSlowFill('unready');
    // Also strangers, who ask for a volume that is somebody else's.
    const stranger = domainXml({ name: 'stranger', lv: 'ready', image: 'image.raw', uuid: randomUUID() });
    const { stdout } = await host().sh(
      `cd /tmp; cat >stranger.xml; virsh dumpxml ready >ready.xml; virsh dumpxml unready >unready.xml
       for start in $(seq ${STARTS}); do
         case $((start % 4)) in 0) name=stranger ;; 1) name=unready ;; *) name=ready ;; esac
         (code=0; ${HOOK} $name prepare begin - <$name.xml 2>/dev/null || code=$?; echo $name $code) &
       done
       timeout 60 virsh list --all >/dev/null && echo libvirt 0
       wait`,
      { input: stranger },
    );
    const quarter = STARTS / 4;
    expect(stdout.split('\n').sort()).toEqual([
      'libvirt 0',
      ...Array<string>(2 * quarter).fill('ready 0'),
      ...Array<string>(quarter).fill('stranger 1'),
      ...Array<string>(quarter).fill('unready 1'),
    ]);
    await limitRate(host(), undefined);
    await expectRight('unready', slow);
  });
});

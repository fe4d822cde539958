/**
 * Processes that end, hang or are too many, where test/host/restarts.test.ts does not look: the helper killed
 * around each change it makes to LVM, twenty starts at once, and the daemon that hangs until systemd ends it.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { HOOK } from './ask-hook.ts';
import { eventually } from './host.ts';
import {
  beginSlowFill,
  define,
  domainXml,
  expectFilled,
  limitRate,
  privateVolumes,
  useProvisionedHost,
  SLOW_IMAGE_BYTES,
} from './provisioned-host.ts';

const MIB = 1 << 20;
const DAEMON = 'libvirt-volume-provisioner';
const STARTS = 20;
/** Published by the first test. */
const READY = 'killed-0';

/**
 * Passes every call on to LVM. Each file in /run/kill-at says `before` or `after` and a pattern: around the first
 * call of that pattern the helper, whose child this is, is killed, and systemd ends this one with it.
 */
const LVM_WRAPPER = `#!/bin/bash
call="\${0##*/} $*"
lvm() { (exec -a "\${0##*/}" /usr/lib/lvm-of-the-host "$@"); }
for file in /run/kill-at/*; do
  read -r when pattern 2>/dev/null <"$file" || continue
  # Whoever moves it is the one that kills.
  [[ $call == $pattern ]] && mv "$file" /run/killed/ 2>/dev/null || continue
  [ "$when" = before ] || lvm "$@"
  kill -KILL $PPID
  exec sleep infinity
done
exec -a "\${0##*/}" /usr/lib/lvm-of-the-host "$@"
`;

/** Made and not known to anybody, written and not sealed, sealed, published and not known to anybody. */
const MOMENTS = [
  'after lvcreate *lvp-fill-*',
  'before lvchange *lvp:ready*',
  'after lvchange *lvp:ready*',
  'after lvrename vg0 lvp-fill-*',
];

describe('the provisioner', () => {
  const { host, folder } = useProvisionedHost('processes');
  let image = '';
  let slow = '';

  beforeAll(async () => {
    image = join(folder(), 'image.raw');
    slow = join(folder(), 'slow.raw');
    await writeFile(image, randomBytes(8 * MIB));
    await writeFile(slow, randomBytes(SLOW_IMAGE_BYTES));
    await host().putImage(image, 'image.raw', { sidecar: true });
    await host().putImage(slow, 'slow.raw', { sidecar: true });
  });

  it('ends well though its helper is killed around each change it makes to LVM', async () => {
    await host().sh(
      `mkdir -p /run/kill-at /run/killed
       mv /usr/sbin/lvm /usr/lib/lvm-of-the-host; cat >/usr/sbin/lvm; chmod 755 /usr/sbin/lvm
       ${MOMENTS.map((moment, index) => `echo '${moment}' >/run/kill-at/${index}`).join('\n')}`,
      { input: LVM_WRAPPER },
    );
    const names = MOMENTS.map((_, index) => `killed-${index}`);
    for (const name of names) await define(host(), { name, image: 'image.raw' });
    for (const name of names) await expectFilled(host(), name, image);
    expect(await privateVolumes(host())).toEqual([]);
    const { stdout } = await host().sh(
      'mv /usr/lib/lvm-of-the-host /usr/sbin/lvm; ls /run/kill-at; ls /run/killed | wc -l',
    );
    expect(stdout).toBe(String(MOMENTS.length));
  });

  it(`answers ${STARTS} starts at once, each of them rightly`, async () => {
    await host().sh(
      `mkdir -p /run/systemd/system/${DAEMON}.service.d
       printf '[Service]\\nWatchdogSec=8\\nTimeoutAbortSec=2\\n' >/run/systemd/system/${DAEMON}.service.d/test.conf
       systemctl daemon-reload; systemctl restart ${DAEMON}`,
    );
    await beginSlowFill(host(), { name: 'unready', image: 'slow.raw' });
    // Also strangers, who ask for a volume that is somebody else's.
    const stranger = domainXml({ name: 'stranger', lv: READY, image: 'image.raw', uuid: randomUUID() });
    const { stdout } = await host().sh(
      `cd /tmp; cat >stranger.xml; virsh dumpxml ${READY} >ready.xml; virsh dumpxml unready >unready.xml
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
  });

  it('that hangs in the middle of that fill is ended by systemd, and goes on', async () => {
    const before = (await host().sh(`systemctl show --value --property=MainPID ${DAEMON}`)).stdout;
    await host().sh(`systemctl kill --kill-whom=main --signal=STOP ${DAEMON}`);
    await limitRate(host(), undefined);
    await eventually('another daemon runs', async () => {
      const { stdout } = await host().sh(
        `systemctl is-active ${DAEMON}; systemctl show --value -p MainPID ${DAEMON}`,
      );
      return stdout.startsWith('active\n') && stdout !== `active\n${before}` ? true : undefined;
    });
    await expectFilled(host(), 'unready', slow);
    expect(await privateVolumes(host())).toEqual([]);
  });
});

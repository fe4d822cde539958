/**
 * The life of the .deb on a host that never had it: installed and idle, configured, upgraded during a fill,
 * removed, purged. No foreign hook, no volume and no configuration is lost on the way.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CHECKOUT, program } from '../../packaging/runtime-packages.ts';
import type { Report } from '../../src/doctor/finding.ts';
import { collectLogsOnFailure, eventually, Host } from './host.ts';
import { DAEMON_RESTRICTIONS, HELPER_RESTRICTIONS, tried } from './privileges.ts';
import {
  define,
  deviceDigest,
  expectedDigest,
  limitRate,
  privateVolumes,
  published,
  statusOf,
} from './provisioned-host.ts';

const MIB = 1 << 20;
const NAME = 'libvirt-volume-provisioner';
const DAEMON = `${NAME}.service`;
const SOCKET = `${NAME}-helper.socket`;
const HOOK = `/etc/libvirt/hooks/qemu.d/50-${NAME}`;
const NEXT = `${program().version}+next`;
/** A hook that somebody had before us. */
const FOREIGN_HOOK = '#!/bin/sh\necho "$2/$3" >>/run/foreign-hook\n';

describe('the package', () => {
  let booted: Host | undefined;
  let folder = '';
  let image = '';
  let large = '';
  const host = (): Host => booted ?? expect.fail('the host did not boot');
  const sh = async (script: string, timeoutMs = 120_000): Promise<string> => {
    const { stdout } = await host().sh(script, { timeoutMs });
    return stdout;
  };
  /** As an administrator would, with nobody there to answer a question. There is no network to fetch anything from. */
  const apt = (words: string): Promise<string> => sh(`apt-get -y ${words} 2>&1`, 600_000);
  const install = (version: string): Promise<string> =>
    apt(`install /mnt/shared/${NAME}_${version}_amd64.deb`);
  const foreignHook = (): Promise<string> =>
    sh("stat -c '%U %a' /etc/libvirt/hooks/qemu; cat /etc/libvirt/hooks/qemu");
  /** Nothing has failed, also not a unit that should have stayed idle. */
  const isWell = (): Promise<string> => sh('systemctl is-system-running');
  const gate = (name: string): Promise<string> =>
    sh(`virsh dumpxml ${name} | ${HOOK} ${name} prepare begin -`);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lvp-'));
    image = join(folder, 'image.raw');
    large = join(folder, 'large.raw');
    await writeFile(image, randomBytes(8 * MIB));
    await writeFile(large, randomBytes(48 * MIB));
    booted = await Host.up('package');
    for (const version of [program().version, NEXT]) {
      const options = [
        '--anonymous',
        '--version',
        version,
        '--compression',
        'none',
        '--output',
        host().sharedDir,
      ];
      await execa(join(CHECKOUT, 'packaging/build'), options);
    }
    await host().putImage(image, 'image.raw', { sidecar: true });
    await host().putImage(large, 'large.raw', { sidecar: true });
    await host().sh('cat >/etc/libvirt/hooks/qemu; chmod 700 /etc/libvirt/hooks/qemu', {
      input: FOREIGN_HOOK,
    });
    // Its volume holds something already: never filled, never sealed.
    await sh('lvcreate --yes --name other --size 8M vg0; dd if=/dev/urandom of=/dev/vg0/other bs=1M count=1');
    await define(host(), { name: 'other', image: 'image.raw' });
  });
  afterAll(async () => {
    await booted?.down();
    await rm(folder, { recursive: true, force: true });
  });
  collectLogsOnFailure(() => booted);

  it('is installed, idle, and refuses what is not sealed', async () => {
    expect(await install(program().version)).toContain('idle until there is a');
    expect(await isWell()).toBe('running');
    expect(await sh(`systemctl is-enabled ${DAEMON} ${SOCKET}`)).toBe('enabled\nenabled');
    expect(await sh(`systemctl is-active ${DAEMON} ${SOCKET} || true`)).toBe('inactive\nactive');
    expect(await sh(`stat -c '%U %a' ${HOOK}`)).toBe('root 755');
    // libvirtd was told, without a restart: it asks both hooks.
    const { stderr } = await host().sh('virsh start other', { reject: false });
    expect(stderr).toContain(`${NAME}: domain other is not started`);
    expect(await sh('cat /run/foreign-hook')).toContain('prepare/begin');
  });

  it('does the main job once it is configured', async () => {
    await sh(
      `. /etc/minio-test/env; umask 077; cd /root; install -m 644 /etc/minio-test/ca.pem /etc/${NAME}/ca.pem
       printf %s "$MINIO_ROOT_USER" >access; printf %s "$MINIO_ROOT_PASSWORD" >secret
       printf '%s\n' '- {name: strangers, domains: ["x-*"], allow: false}' '- {name: ours, images: [images/]}' >rules.yaml
       lvp setup --endpoint https://minio.test:9000 --ca-file /etc/${NAME}/ca.pem --bucket images --volume-group vg0 \
         --access-key-file access --secret-key-file secret --policy-file rules.yaml
       shred --remove access secret
       # As much as can be said, for whoever looks for keys in it below.
       echo 'log: {level: trace}' >>/etc/${NAME}/config.yaml; systemctl restart ${DAEMON}`,
    );
    await define(host(), { name: 'main', image: 'image.raw' });
    await published(host(), 'main');
    expect(await deviceDigest(host(), '/dev/vg0/main')).toBe(await expectedDigest(image, 'raw'));
    await gate('main');
    expect(await sh('lvp explain main')).toMatch(/policy: .*\bours\b/);
    await define(host(), { name: 'x-1', image: 'image.raw' });
    expect(await sh('lvp explain x-1')).toMatch(/policy: .*\bstrangers\b/);
    await sh('virsh undefine x-1');
    const { stdout: report } = await host().sh('lvp doctor --json', { reject: false });
    const { findings } = JSON.parse(report) as Report;
    // The one that is refused on purpose is no sign of health.
    const broken = findings.filter(({ id, severity }) => severity === 'fail' && id !== 'health.volumes');
    expect(broken).toEqual([]);
    // On a busy machine the gate may hear too late of it.
    await eventually('the other is refused for what it is', async () => {
      const why = await gate('other').then(() => expect.fail('it may start'), String);
      return why.includes('not blank') ? true : undefined;
    });
  });

  // docs/operate.md, "Encrypted keys"
  it('reads keys that systemd has decrypted for it', async () => {
    const dropIn = `/etc/systemd/system/${DAEMON}.d/encrypted.conf`;
    await sh(
      `cd /etc/${NAME}; install -d -m 700 credentials.encrypted; umask 077
       for key in minio-access-key minio-secret-key; do
         systemd-creds encrypt --name=secret_$key credentials/$key credentials.encrypted/$key
       done
       mkdir -p ${dirname(dropIn)}
       printf '[Service]\nLoadCredential=\nLoadCredentialEncrypted=secret:%s\n' $PWD/credentials.encrypted >${dropIn}
       mv credentials plain; systemctl daemon-reload; systemctl restart ${DAEMON}`,
    );
    // From the command line, and by the daemon.
    await sh('lvp config check');
    await sh('lvp image inspect images/image.raw --format raw');
    await sh(
      `cd /etc/${NAME}; mv plain credentials; rm -r credentials.encrypted ${dropIn}; rmdir ${dirname(dropIn)}
       systemctl daemon-reload; systemctl restart ${DAEMON}`,
    );
  });

  it('has few rights', async () => {
    // What systemd knows of 100 ways to more; the helper, which is root for LVM, has some of them.
    await sh(`systemd-analyze security --threshold=15 ${DAEMON}`);
    await sh(`systemd-analyze security --threshold=40 ${NAME}-helper.service`);
    expect(await sh(`id -nG ${NAME}`)).toBe(NAME);
    expect(
      await sh(`cat /proc/$(systemctl show -P MainPID ${DAEMON})/status | grep -E 'Cap|NoNewPrivs'`),
    ).toBe(
      [
        ...['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map((name) => `${name}:\t${'0'.repeat(16)}`),
        'NoNewPrivs:\t1',
      ].join('\n'),
    );
  });

  it.each([
    [NAME, DAEMON_RESTRICTIONS, 15],
    [`${NAME}-helper`, HELPER_RESTRICTIONS, 40],
  ] as const)('keeps %s from what it does not need, line by line', async (name, restrictions, threshold) => {
    const { unit, done } = await tried(host(), name, restrictions);
    const all = [...new Set(Object.values(restrictions).flat())].sort();
    const sorted = Object.entries(done).map(([without, attempts]) => [without, attempts.toSorted()]);
    expect(Object.fromEntries(sorted)).toEqual({ '': [], ...restrictions, all });
    await expect(sh(`systemd-analyze security --threshold=${threshold} ${unit}.service`)).rejects.toThrow();
  });

  it('is upgraded during a fill, which ends well', async () => {
    const etc = `find /etc/${NAME} -type f -exec sha256sum {} + | sort; stat -c '%U %G %a' /etc/${NAME}/*`;
    const configuration = await sh(etc);
    // So slow that it cannot end before the upgrade, however busy this machine is: 48 MiB in 3 minutes.
    await limitRate(host(), 0.25);
    await define(host(), { name: 'during', image: 'large.raw' });
    const fillId = await eventually(
      'bytes flow',
      async () => {
        const [volume] = (await statusOf(host(), 'during')).volumes;
        return (volume?.bytesDone ?? 0) > 0 ? volume?.fillId : undefined;
      },
      { timeoutMs: 120_000 },
    );
    const before = await sh(`systemctl show -P MainPID ${DAEMON}`);
    await install(NEXT);
    expect(await sh(`dpkg-query -W -f '\${Version}' ${NAME}`)).toBe(NEXT);
    expect(await privateVolumes(host())).toEqual([`lvp-fill-${fillId}`]);
    await limitRate(host(), undefined);
    await published(host(), 'during');
    expect((await statusOf(host(), 'during')).volumes[0]?.fillId).toBe(fillId);
    expect(await deviceDigest(host(), '/dev/vg0/during')).toBe(await expectedDigest(large, 'raw'));
    expect(await privateVolumes(host())).toEqual([]);
    expect(await sh(`journalctl -u ${DAEMON} | grep -F 'timed out' || true`)).toBe('');
    expect(await sh(etc)).toBe(configuration);
    expect((await statusOf(host(), 'main')).volumes[0]?.state).toBe('ready');
    // What needrestart looks for: a process that still runs files which have been replaced.
    const after = await sh(`systemctl show -P MainPID ${DAEMON}`);
    expect(after).not.toBe(before);
    expect(await sh(`grep -F '/usr/' /proc/${after}/maps | grep -F '(deleted)' || true`)).toBe('');
    expect(await isWell()).toBe('running');
  });

  it('has told nobody the keys of the store', async () => {
    const found = await sh(
      `. /etc/minio-test/env; umask 077; mkdir /root/keys
       printf '%s\\n' "$MINIO_ROOT_USER" "$MINIO_ROOT_PASSWORD" >/root/keys/all
       grep -rlsF -f /root/keys/all --exclude-dir=keys --exclude-dir=minio --exclude-dir=minio-test --devices=skip \
         /etc /root /run /tmp /usr/lib/${NAME} /var || true
       journalctl --all | grep -F -f /root/keys/all || true
       for process in /proc/[0-9]*; do
         [ "$(cat $process/comm)" = minio ] || grep -lsF -f /root/keys/all $process/cmdline $process/environ || true
       done`,
    );
    const credentials = (folder: string, prefix = '') =>
      ['minio-access-key', 'minio-secret-key'].map((name) => `${folder}/${prefix}${name}`);
    expect(found.split('\n').sort()).toEqual([
      ...credentials(`/etc/${NAME}/credentials`),
      // Where systemd shows them to the service alone.
      ...credentials(`/run/credentials/${DAEMON}`, 'secret_'),
    ]);
  });

  it('is removed, and domains start as if it had never been', async () => {
    await apt(`remove ${NAME}`);
    expect(await sh(`ls -d ${HOOK} /usr/lib/${NAME} /usr/bin/lvp 2>/dev/null || true`)).toBe('');
    expect(await sh(`systemctl is-active ${DAEMON} ${SOCKET} || true`)).toBe('inactive\ninactive');
    expect(await isWell()).toBe('running');
    await sh(`test -s /etc/${NAME}/config.yaml && test -s /var/lib/${NAME}/ledger.db`);
    // The one that was refused as long as the package was there.
    await sh('virsh start other && virsh destroy other', 300_000);
  });

  it('is purged, and its volumes stay', async () => {
    expect(await apt(`purge ${NAME}`)).toContain('Published volumes are kept');
    expect(await sh(`find /etc /var/lib /var/cache -maxdepth 1 -name '${NAME}*'`)).toBe('');
    expect(await sh(`find /etc -name '*${NAME}*'`)).toBe('');
    expect(await deviceDigest(host(), '/dev/vg0/main')).toBe(await expectedDigest(image, 'raw'));
    expect(await deviceDigest(host(), '/dev/vg0/during')).toBe(await expectedDigest(large, 'raw'));
    expect(await foreignHook()).toBe(`root 700\n${FOREIGN_HOOK.trimEnd()}`);
    expect(await isWell()).toBe('running');
  });
});

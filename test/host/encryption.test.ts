/** Encrypted volumes, with keys from files of the host and from a real key server in it. */
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import { secretUuid } from '../../src/core/key/secret-name.ts';
import type { Host } from './host.ts';
import { eventually } from './host.ts';
import type { Identity, Key } from './key-server.ts';
import { BARBICAN_URL, KEYSTONE_URL, KEY_SERVER_CA_FILE, KeyServer } from './key-server.ts';
import {
  configureProvisioner,
  define,
  failureOf,
  published,
  statusOf,
  useProvisionedHost,
} from './provisioned-host.ts';

const START_LIMIT_MS = 180_000;
/** By default it is noticed within so long that a grant is withdrawn: `keys.recheck`, and the time of one reading. */
const WITHDRAWN_LIMIT_MS = 70_000;
const DAEMON = 'libvirt-volume-provisioner';
const CONFIG = '/etc/libvirt-volume-provisioner';
const INSTALLED = '/usr/lib/libvirt-volume-provisioner';

const { host, folder } = useProvisionedHost('encryption');
let server: KeyServer;
beforeAll(async () => {
  server = await KeyServer.start(host());
});

describe('the key server', () => {
  it('gives a key to whom it was granted, until that is revoked', async () => {
    const [a, b] = [server.reader('hosta'), server.reader('hostb')];
    const key = await server.createKey('vm1-vda');
    const statuses = async () => {
      const answers = [await server.read(key, a), await server.read(key, b)];
      return answers.map(({ status }) => status);
    };
    expect(await statuses()).toEqual([403, 403]);
    await server.grant(key, a);
    expect(await statuses()).toEqual([200, 403]);
    expect((await server.read(key, a)).body).toBe(key.payload);
    await server.grant(key, b);
    expect(await statuses()).toEqual([403, 200]);
    await server.revoke(key);
    expect(await statuses()).toEqual([403, 403]);
  });

  it('lets a host do nothing else, and management not read what it grants', async () => {
    const host = server.reader('hosta');
    const key = await server.createKey('vm2-vda');
    await server.grant(key, host);
    const refused = [
      await server.request(host, 'DELETE', key.ref),
      await server.request(host, 'GET', `${key.ref}/acl`),
      await server.request(host, 'PUT', `${key.ref}/acl`, { read: { 'project-access': true } }),
      await server.request(host, 'GET', key.ref.replace(/\/[^/]*$/, '')),
      await server.read(key, server.management),
    ];
    expect(refused.map(({ status }) => status)).toEqual([403, 403, 403, 403, 403]);
    expect((await server.read(key, server.operator)).body).toBe(key.payload);
  });

  it('knows nobody by a wrong secret', async () => {
    const { id } = server.reader('hosta');
    expect((await server.authenticate({ id, secret: 'wrong' })).status).toBe(401);
    expect((await server.authenticate(server.reader('hosta'))).status).toBe(201);
  });

  it('fails as it is told to, and writes no secret into its log', async () => {
    const reader = server.reader('hosta');
    const [key, other] = [await server.createKey('vm3-vda'), await server.createKey('vm4-vda')];
    await server.grant(key, reader);
    await server.freeze('barbican');
    // 28: no answer in time.
    expect(await exitCode(host(), `curl --silent --insecure --max-time 2 ${BARBICAN_URL}`)).toBe(28);
    await server.thaw('barbican');
    expect((await server.read(key, reader)).body).toBe(key.payload);
    await server.swap(key, other);
    expect((await server.read(key, reader)).body).toBe(other.payload);

    await server.stop('keystone');
    // 7: nobody listens.
    expect(await exitCode(host(), `curl --silent --insecure ${KEYSTONE_URL}`)).toBe(7);
    const stale = await server.tokenOf(reader);
    await server.forgetTokens();
    expect((await server.ask('GET', `${key.ref}/payload`, { 'X-Auth-Token': stale })).status).toBe(401);
    expect((await server.read(key, reader)).status).toBe(200);

    const answered = (await server.requests()).filter((line) => line.includes(`GET /v1/secrets/${key.uuid}`));
    expect(answered.map((line) => line.split(' ').at(-1))).toEqual(['200', '200', '401', '200']);
    const { stdout: log } = await host().sh('journalctl --unit keystone --unit barbican --output cat');
    for (const secret of [key.payload, other.payload, reader.secret, stale])
      expect(log).not.toContain(secret);
  });

  it('is verified by its own authority alone', async () => {
    const curl = (options: string) => exitCode(host(), `curl --silent ${options} ${KEYSTONE_URL}`);
    expect(await curl(`--cacert ${KEY_SERVER_CA_FILE}`)).toBe(0);
    // 60: not verified.
    expect(await curl('')).toBe(60);
    expect(await curl('--cacert /etc/minio-test/ca.pem')).toBe(60);
    for (const wrong of ['other-authority', 'other-name', 'expired'] as const) {
      await server.useCertificate(wrong);
      expect(await curl(`--cacert ${KEY_SERVER_CA_FILE}`)).toBe(60);
    }
    await server.useCertificate('right');
    expect(await curl(`--cacert ${KEY_SERVER_CA_FILE}`)).toBe(0);
  });
});

describe('lvp key', () => {
  /** In somebody's name, as OpenStack's own programs are told. */
  const lvpAs = async (who: Identity, command: string) =>
    host().sh(`set -a; . /dev/stdin; exec lvp key ${command}`, {
      input: [
        ...[`OS_AUTH_URL=${KEYSTONE_URL}`, `OS_CACERT=${KEY_SERVER_CA_FILE}`],
        ...[`OS_APPLICATION_CREDENTIAL_ID=${who.id}`, `OS_APPLICATION_CREDENTIAL_SECRET=${who.secret}`],
      ].join('\n'),
      reject: false,
    });
  const keyOf = (reference: string): Key => {
    const [, uuid = ''] = /^barbican:([0-9a-f-]{36})$/.exec(reference) ?? expect.fail(reference);
    return { ref: `${BARBICAN_URL}/v1/secrets/${uuid}`, uuid, payload: '' };
  };
  /** What the daemon's own reader gets with that identity: the SHA-256 of the key, or the code of the error. */
  const readAs = async ({ id, secret }: Identity, { uuid }: Key): Promise<string> => {
    const script = `
      import { createHash } from 'node:crypto';
      import { readFileSync } from 'node:fs';
      import { BarbicanKeys } from '${INSTALLED}/src/adapters/key/barbican.ts';
      const keys = new BarbicanKeys({
        url: new URL('${BARBICAN_URL}/v1'), authUrl: new URL('${KEYSTONE_URL}'),
        ca: readFileSync('${KEY_SERVER_CA_FILE}', 'utf8'),
        applicationCredentialId: '${id}', applicationCredentialSecret: { reveal: () => '${secret}' },
      }, { limitMs: 30_000 });
      await keys.read({ provider: 'barbican', id: '${uuid}' }, new AbortController().signal).then(
        ({ bytes }) => console.log(createHash('sha256').update(bytes).digest('hex')),
        ({ code }) => console.log(code),
      );`;
    const { stdout } = await host().sh(
      `cat >/tmp/read-key.mjs; ${INSTALLED}/bin/node --disable-warning=ExperimentalWarning /tmp/read-key.mjs`,
      { input: script },
    );
    return stdout.trim();
  };

  it('makes a key, and moves it from one host to the other', async () => {
    const [a, b, management] = [server.reader('hosta'), server.reader('hostb'), server.management];
    const made = await lvpAs(management, `create --name web1-vda --for ${a.userId} --url ${BARBICAN_URL}`);
    expect([made.exitCode, made.stderr]).toEqual([0, expect.stringContaining(`read by ${a.userId}`)]);
    const key = keyOf(made.stdout);
    const payload = (await server.read(key, server.operator)).body;
    expect(payload).toMatch(/^[A-Za-z0-9+/]{86}==$/);
    const sha256 = createHash('sha256').update(payload).digest('hex');
    expect([await readAs(a, key), await readAs(b, key)]).toEqual([sha256, 'KEY_DENIED']);

    await lvpAs(management, `grant ${made.stdout} ${b.userId} --url ${BARBICAN_URL}`);
    await lvpAs(management, `revoke ${made.stdout} ${a.userId} --url ${BARBICAN_URL}`);
    expect([await readAs(a, key), await readAs(b, key)]).toEqual(['KEY_DENIED', sha256]);
    const listed = await lvpAs(management, `list barbican --json --url ${BARBICAN_URL}`);
    const { keys } = JSON.parse(listed.stdout) as { keys: object[] };
    expect(keys).toContainEqual(
      expect.objectContaining({ key: made.stdout, name: 'web1-vda', readers: [b.userId] }),
    );

    // A host may not grant what it was granted.
    expect((await lvpAs(b, `grant ${made.stdout} ${a.userId} --url ${BARBICAN_URL}`)).exitCode).toBe(5);
    await lvpAs(management, `revoke ${made.stdout} --all --url ${BARBICAN_URL}`);
    expect(await readAs(b, key)).toBe('KEY_DENIED');
    await server.deleteKey(key);
    expect(await readAs(b, key)).toBe('KEY_NOT_FOUND');
    expect(await readAs({ ...b, secret: 'wrong' }, key)).toBe('KEY_DENIED');
    expect(await readAs({ ...b, id: '0'.repeat(32) }, key)).toBe('KEY_DENIED');
    const { stdout: lines } = await host().sh(`journalctl --no-pager -o cat | grep -cF '${payload}' || true`);
    expect(lines.trim()).toBe('0');
  });

  it('a key without a list of readers is not given to a host, and not made by one', async () => {
    const made = await lvpAs(server.reader('hosta'), `create --url ${BARBICAN_URL}`);
    expect([made.exitCode, made.stdout]).toEqual([5, '']);
  });

  it('the doctor sees whether the identity of this host works, and by whose certificate', async () => {
    const { secret, userId } = server.reader('hosta');
    const credential = '/etc/libvirt-volume-provisioner/credentials/barbican-application-credential-secret';
    const setSecret = async (input: string) =>
      host().sh(`umask 077; cat >${credential}; systemctl reset-failed; true`, { input });
    await server.serve(host(), server.reader('hosta'));
    const findings = async () => {
      const { stdout } = await host().sh('lvp doctor --json', { reject: false });
      const report = JSON.parse(stdout) as {
        findings: { id: string; severity: string; what: string }[];
      };
      const ofKeys = report.findings.filter((finding) => finding.id.startsWith('keys.'));
      return new Map(ofKeys.map(({ id: name, severity, what }) => [name, `${severity} ${what}`]));
    };
    const well = await findings();
    expect([...well.values()].filter((said) => !said.startsWith('ok '))).toEqual([]);
    expect(well.get('keys.identity')).toBe(`ok user ${userId}`);
    await setSecret('wrong');
    expect((await findings()).get('keys.identity')).toMatch(/^fail .*refuses the identity/);
    await setSecret(secret);
    await server.useCertificate('other-authority');
    expect((await findings()).get('keys.certificate')).toMatch(/^fail /);
    await server.useCertificate('right');
  });

  it('makes a key on this host, for root alone, and gives it to a host that comes with it', async () => {
    const file = '/var/lib/libvirt-volume-provisioner-keys/web1-vda.cred';
    const sha256 = `systemd-creds decrypt --name=lvp-key-web1-vda ${file} - | sha256sum`;
    const { stdout: made } = await host().sh('lvp key create file:web1-vda');
    expect(made).toBe('file:web1-vda');
    const { stdout: rights } = await host().sh(`stat -c '%a %U' $(dirname ${file}) ${file}`);
    expect(rights.trim().split('\n')).toEqual(['700 root', '600 root']);
    const { stdout: before } = await host().sh(sha256);
    const again = await host().sh('lvp key create file:web1-vda', { reject: false });
    expect([again.exitCode, again.stderr]).toEqual([2, expect.stringContaining('already')]);
    expect((await host().sh(sha256)).stdout).toBe(before);
    const other = await host().sh('runuser -u nobody -- lvp key list file', { reject: false });
    expect([other.exitCode, other.stderr]).toEqual([2, expect.stringContaining('use sudo')]);

    await host().sh(`systemd-creds decrypt --name=lvp-key-web1-vda ${file} - >/run/the-key`);
    const kept = await host().sh('lvp key revoke file:web1-vda --confirm web1-vda', { reject: false });
    expect(kept.exitCode).toBe(2);
    await host().sh('lvp key revoke file:web1-vda --confirm file:web1-vda');
    expect((await host().sh('lvp key list file')).stdout).toBe('There is no key.');
    await host().sh('lvp key grant file:web1-vda --stdin </run/the-key && rm /run/the-key');
    expect((await host().sh(sha256)).stdout).toBe(before);
  });
});

/** A guest whose disk is encrypted, from the key to the end of its run. */
describe('a guest', () => {
  const sh = async (command: string) => (await host().sh(command, { timeoutMs: START_LIMIT_MS })).stdout;
  const state = async (name: string) => (await sh(`virsh domstate ${name}`)).trim();
  const secretOf = (name: string) => secretUuid(`/dev/vg0/${name}`);
  const hasSecret = async (name: string) => (await sh('virsh secret-list')).includes(secretOf(name));

  async function isGone(name: string, timeoutMs?: number): Promise<void> {
    const probe = async () => !(await hasSecret(name)) || undefined;
    await eventually(`the secret of ${name} is gone`, probe, timeoutMs === undefined ? {} : { timeoutMs });
  }

  /** What whoever pressed start is told. */
  async function refusal(name: string): Promise<string> {
    const { exitCode: code, stderr } = await host().sh(`virsh start ${name}`, {
      ...{ reject: false, timeoutMs: START_LIMIT_MS },
    });
    expect(code).not.toBe(0);
    expect(await state(name)).toBe('shut off');
    return stderr;
  }

  beforeAll(async () => {
    const { stdout: sector } = await execa(join(import.meta.dirname, 'boot-sector'), { encoding: 'buffer' });
    const image = join(folder(), 'boots.raw');
    await writeFile(image, Buffer.concat([sector, Buffer.alloc(4 << 20, 'plain bytes of the image ')]));
    await host().putImage(image, 'boots.raw', { sidecar: true });
    await configureProvisioner(host(), 'gate: {grace: 30s}\nkeys: {recheck: 10s}');
    await sh('lvp key create file:guest');
    await define(host(), { name: 'guest', image: 'boots.raw', key: 'file:guest' });
    await published(host(), 'guest');
  });

  it('boots from its volume, on which no byte of the image stands', async () => {
    expect(await sh('lvs --noheadings -o lv_tags vg0/guest')).toContain('lvp:encryption:luks1');
    expect(await exitCode(host(), 'grep --quiet --text "bytes of the image" /dev/vg0/guest')).toBe(1);
    expect(await hasSecret('guest')).toBe(false);
    await sh('virsh start guest');
    await eventually('it has booted', async () => {
      const serial = await sh('cat /var/log/libvirt/qemu/guest-serial.log');
      return serial.includes('LVP-BOOT-OK') || undefined;
    });
  });

  it('has its key in the memory of libvirt, for nobody to read, and again when libvirtd was restarted', async () => {
    expect(await hasSecret('guest')).toBe(true);
    const value = await host().sh(`virsh secret-get-value ${secretOf('guest')}`, { reject: false });
    expect(value.exitCode).not.toBe(0);
    expect(value.stderr).toContain('secret is private');
    await sh('systemctl restart libvirtd');
    await eventually('set again', async () => (await hasSecret('guest')) || undefined);
    expect(await state('guest')).toBe('running');
  });

  it('has its secret to itself: whoever defines it anew, so that its value is kept on disk, is undone', async () => {
    const uuid = secretOf('guest');
    const onDisk = async () => (await sh('ls /etc/libvirt/secrets')).includes(uuid);
    const anew = `<secret ephemeral='no' private='yes'><uuid>${uuid}</uuid><usage type='volume'><volume>/dev/vg0/guest</volume></usage></secret>`;
    await sh('useradd --groups libvirt definer');
    await host().sh('cat >/tmp/anew.xml; chmod 644 /tmp/anew.xml', { input: anew });
    await sh('runuser -u definer -- virsh -c qemu:///system secret-define /tmp/anew.xml');
    expect(await onDisk()).toBe(true);
    await eventually('it is undefined, and set again', async () => {
      const isAsItWas =
        (await hasSecret('guest')) && (await sh(`virsh secret-dumpxml ${uuid}`)).includes("ephemeral='yes'");
      return (isAsItWas && !(await onDisk())) || undefined;
    });
    expect(await sh('lvp audit --json')).toContain('Somebody has defined the secret of libvirt');
    expect(await sh('journalctl --output cat -u libvirt-volume-provisioner')).toContain(
      'a secret of a guest was changed',
    );
    expect(await state('guest')).toBe('running');
  });

  it('leaves no key behind when it has ended', async () => {
    await sh('virsh destroy guest');
    await isGone('guest');
  });

  it('is refused with the key of another volume, before QEMU tries it', async () => {
    const file = '/var/lib/libvirt-volume-provisioner-keys/guest.cred';
    await sh(
      `cp -a ${file} /root/right.cred
       head -c 64 /dev/urandom | base64 -w 0 | systemd-creds encrypt --with-key=host --name=lvp-key-guest - ${file}`,
    );
    expect(await refusal('guest')).toMatch(/libvirt-volume-provisioner: .*Disk vda: .*key/i);
    expect(await hasSecret('guest')).toBe(false);
    await sh(`cp -a /root/right.cred ${file}`);
  });

  it('has its key for itself: a disk of another one gets none with it', async () => {
    await define(host(), { name: 'sharer', image: 'boots.raw', key: 'file:guest' });
    const problem = await eventually('it is refused', async () => {
      const [volume] = (await statusOf(host(), 'sharer')).volumes;
      return volume?.state === 'refused' ? volume.problem : undefined;
    });
    expect(problem).toMatchObject({ code: 'KEY_IN_USE' });
    expect(problem.message).toContain('disk vda of domain guest');
    expect(await exitCode(host(), 'lvs vg0/sharer')).not.toBe(0);
    expect(await refusal('sharer')).toContain('file:guest');
    await sh('virsh undefine sharer');
  });

  it('is refused without the daemon, by the hook', async () => {
    await sh(`systemctl stop ${DAEMON}`);
    expect(await refusal('guest')).toContain('disk vda is encrypted');
    await sh(`systemctl start ${DAEMON}`);
    await published(host(), 'guest');
  });

  let served: Key;

  it('with a key of the key server is started although that answers late', async () => {
    const identity = server.reader('hosta');
    served = await server.createKey('served');
    await server.grant(served, identity);
    await server.serve(host(), server.reader('hostb'));
    await define(host(), { name: 'served', image: 'boots.raw', key: `barbican:${served.uuid}` });
    expect(await failureOf(host(), 'served')).toMatchObject({ code: 'KEY_DENIED' });
    // Another identity, without a restart.
    const daemon = await sh(`systemctl show --property MainPID ${DAEMON}`);
    expect(await server.serve(host(), identity, 'lvp config reload')).toBe(
      'In use from now on: what keys.barbican says, and its secret.',
    );
    await published(host(), 'served');
    expect(await sh(`systemctl show --property MainPID ${DAEMON}`)).toBe(daemon);
    await server.freeze('barbican');
    try {
      await sh(`systemd-run --quiet --unit=starting --remain-after-exit virsh start served
        until ss -Htn state established 'sport = :9311' | awk '$1 > 0 { found = 1 } END { exit !found }'; do
          sleep 0.05
        done`);
      expect(await hasSecret('served')).toBe(false);
    } finally {
      await server.thaw('barbican');
    }
    await eventually('it runs', async () => (await state('served')) === 'running' || undefined);
    expect(await hasSecret('served')).toBe(true);
  });

  it('with a key of the key server goes on when that is revoked, and is not started again', async () => {
    const key = served;
    await server.revoke(key);
    await isGone('served', WITHDRAWN_LIMIT_MS);
    expect(await state('served')).toBe('running');
    const { events } = JSON.parse(await sh('lvp audit --json')) as { events: object[] };
    expect(events).toContainEqual(
      expect.objectContaining({ what: 'key revoked', key: `barbican:${key.uuid}` }),
    );
    await sh('virsh destroy served');
    expect(await refusal('served')).toContain(`barbican:${key.uuid}`);
    const written = await sh(`journalctl --output cat; cat ${CONFIG}/config.yaml; lvp audit --json`);
    expect(written).not.toContain(key.payload);
  });

  it('that is not defined here has no key read, granted or not', async () => {
    const reads = async ({ uuid }: Key) =>
      (await server.requests()).filter((line) => line.includes(`GET /v1/secrets/${uuid}`)).length;
    const identity = server.reader('hosta');
    const [elsewhere, left] = [await server.createKey('elsewhere'), await server.createKey('left')];
    await server.grant(elsewhere, identity);
    await server.grant(left, identity);
    await define(host(), { name: 'left', image: 'boots.raw', key: `barbican:${left.uuid}` });
    await published(host(), 'left');
    await sh('virsh start left');
    await sh('virsh destroy left');
    await isGone('left');
    await sh('virsh undefine left');
    await eventually(
      'it has gone',
      async () => (await exitCode(host(), 'lvp status left')) !== 0 || undefined,
    );
    const before = await reads(left);
    expect(before).toBeGreaterThan(0);
    // All that is looked at in a new life of the daemon, and with another word of the key server.
    await sh(`systemctl restart ${DAEMON}`);
    await published(host(), 'guest');
    await sh('lvp config reload');
    expect(await reads(left)).toBe(before);
    expect(await reads(elsewhere)).toBe(0);
  });

  it('that is autostarted is started by the daemon after a reboot, and once only', async () => {
    await sh('virsh autostart guest; sync');
    await host().poweroff();
    await host().boot();
    await eventually('it runs', async () => (await state('guest')) === 'running' || undefined, {
      timeoutMs: START_LIMIT_MS,
    });
    expect(await hasSecret('guest')).toBe(true);
    // Whoever shuts it down means that, also when the daemon or libvirtd begins anew.
    await sh('virsh destroy guest');
    await isGone('guest');
    for (const service of [DAEMON, 'libvirtd']) {
      await sh(`systemctl restart ${service}`);
      await define(host(), { name: `after-${service}`, image: 'boots.raw' });
      await published(host(), `after-${service}`);
      expect(await state('guest')).toBe('shut off');
    }
    await sh('virsh autostart --disable guest');
  });
});

async function exitCode(where: Host, command: string): Promise<number> {
  const { exitCode: code } = await where.sh(`${command} >/dev/null`, { reject: false });
  return code;
}

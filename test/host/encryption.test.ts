/** Encrypted volumes, with keys from files of the host and from a real key server in it. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import { secretUuid } from '../../src/core/secret-name.ts';
import { eventually } from './host.ts';
import type { Host } from './host.ts';
import { BARBICAN_URL, KEYSTONE_URL, KEY_SERVER_CA_FILE, KeyServer } from './key-server.ts';
import { define, published, useProvisionedHost } from './provisioned-host.ts';

const START_LIMIT_MS = 180_000;
const DAEMON = 'libvirt-volume-provisioner';
const CONFIG = '/etc/libvirt-volume-provisioner';

const { host, folder } = useProvisionedHost('encryption');

describe('the key server', () => {
  let server: KeyServer;
  beforeAll(async () => {
    server = await KeyServer.start(host());
  });

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

/** A guest whose disk is encrypted, from the key to the end of its run. */
describe('a guest', () => {
  const sh = async (command: string) => (await host().sh(command, { timeoutMs: START_LIMIT_MS })).stdout;
  const state = async (name: string) => (await sh(`virsh domstate ${name}`)).trim();
  const secretOf = (name: string) => secretUuid(`/dev/vg0/${name}`);
  const hasSecret = async (name: string) => (await sh('virsh secret-list')).includes(secretOf(name));

  async function isGone(name: string): Promise<void> {
    await eventually(`the secret of ${name} is gone`, async () => !(await hasSecret(name)) || undefined);
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
    await sh(`printf '\\nkeys: {recheck: 10s}\\n' >>${CONFIG}/config.yaml; systemctl restart ${DAEMON}`);
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

  it('is refused without the daemon, by the hook', async () => {
    await sh(`systemctl stop ${DAEMON}`);
    expect(await refusal('guest')).toContain('disk vda is encrypted');
    await sh(`systemctl start ${DAEMON}`);
    await published(host(), 'guest');
  });

  it('that is autostarted is started by the daemon after a reboot', async () => {
    await sh('virsh autostart guest; sync');
    await host().poweroff();
    await host().boot();
    await eventually('it runs', async () => (await state('guest')) === 'running' || undefined, {
      timeoutMs: START_LIMIT_MS,
    });
    expect(await hasSecret('guest')).toBe(true);
    await sh('virsh autostart --disable guest; virsh destroy guest');
    await isGone('guest');
  });

  it('with a key of the key server goes on when that is revoked, and is not started again', async () => {
    const server = await KeyServer.start(host());
    const identity = server.reader('hosta');
    const key = await server.createKey('served');
    await server.grant(key, identity);
    await server.serve(host(), identity);
    await define(host(), { name: 'served', image: 'boots.raw', key: `barbican:${key.uuid}` });
    await published(host(), 'served');
    await sh('virsh start served');
    expect(await hasSecret('served')).toBe(true);
    await server.revoke(key);
    await isGone('served');
    expect(await state('served')).toBe('running');
    expect(await sh('lvp audit --json')).toMatch(new RegExp(`key revoked.*barbican:${key.uuid}`));
    await sh('virsh destroy served');
    expect(await refusal('served')).toContain(`barbican:${key.uuid}`);
    const written = await sh(`journalctl --output cat; cat ${CONFIG}/config.yaml; lvp audit --json`);
    expect(written).not.toContain(key.payload);
  });
});

async function exitCode(host: Host, command: string): Promise<number> {
  const { exitCode: code } = await host.sh(`${command} >/dev/null`, { reject: false });
  return code;
}

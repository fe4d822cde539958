/** Encrypted volumes, with keys from a real key server in the host. */
import { beforeAll, describe, expect, it } from 'vitest';
import type { Host } from './host.ts';
import { BARBICAN_URL, KEYSTONE_URL, KEY_SERVER_CA_FILE, KeyServer } from './key-server.ts';
import { useProvisionedHost } from './provisioned-host.ts';

describe('the key server', () => {
  const { host } = useProvisionedHost('encryption');
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

async function exitCode(host: Host, command: string): Promise<number> {
  const { exitCode: code } = await host.sh(`${command} >/dev/null`, { reject: false });
  return code;
}

/**
 * A volume that is asked for without a domain is filled like any other, also over a restart; a domain that asks for
 * the same gets it, and nobody else; a job that is cancelled leaves nothing.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { CONTROL_SOCKET } from '../../src/core/protocol/control-protocol.ts';
import type { Job } from '../../src/core/protocol/job-protocol.ts';
import { eventually } from './host.ts';
import {
  define,
  deviceDigest,
  expectedDigest,
  limitRate,
  privateVolumes,
  published,
  putRandomImages,
  SLOW_IMAGE_BYTES,
  soilFreeSpace,
  useProvisionedHost,
} from './provisioned-host.ts';

/** Too small for the slow image, of which each download is to be slow. */
const CONFIG = `
cache: {size_max: 40MiB}
prefetch: {interval: 10s, rules: [{images: "images/ahead*.raw", format: raw, pin: true}]}`;

/** `small` ends in the middle of an extent. */
const SIZES_MIB = { 'small.raw': 5, 'slow.raw': SLOW_IMAGE_BYTES >> 20 };

describe('a job', () => {
  const { host, folder } = useProvisionedHost('jobs', CONFIG);

  beforeAll(async () => {
    await putRandomImages(host(), folder(), SIZES_MIB);
    await soilFreeSpace(host(), 128);
  });

  async function create(volume: string, image: string): Promise<Job> {
    const { stdout } = await host().sh(`lvp job create ${volume} images/${image} --json`);
    return JSON.parse(stdout) as Job;
  }

  /** As the daemon says it: see statusOf(). */
  async function jobOf(id: string): Promise<Job> {
    const { stdout } = await host().sh(
      `curl --silent --fail --unix-socket ${CONTROL_SOCKET} http://daemon/v1/jobs/${id}`,
    );
    return JSON.parse(stdout) as Job;
  }

  async function beginSlowJob(volume: string): Promise<Job> {
    await limitRate(host(), 2);
    const { id } = await create(volume, 'slow.raw');
    const job = await eventually('bytes flow', async () => {
      const found = await jobOf(id);
      return found.bytesDone > 0 ? found : undefined;
    });
    await limitRate(host(), 0.125);
    return job;
  }

  async function tagsOf(lv: string): Promise<string> {
    return (await host().sh(`lvs --noheadings -o lv_tags vg0/${lv}`)).stdout.trim();
  }

  it('makes a volume, which a domain that asks for the same claims with the daemon, and not without it', async () => {
    const watched = await host().sh('lvp job create early images/small.raw --watch', { reject: false });
    expect(watched.exitCode).toBe(0);
    expect(watched.stdout).toContain('completed');
    const digest = await expectedDigest(join(folder(), 'small.raw'), 'raw');
    expect(await deviceDigest(host(), '/dev/vg0/early')).toBe(digest);
    expect(await tagsOf('early')).toContain('lvp:domain:job:');
    expect((await host().sh('virsh vol-list guests')).stdout).toContain('early');
    await host().sh('systemctl stop libvirt-volume-provisioner');
    await define(host(), { name: 'early', image: 'small.raw' });
    const refused = await host().sh('virsh start early', { reject: false });
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toContain('no seal that proves it finished for this domain');
    await host().sh('systemctl start libvirt-volume-provisioner');
    await published(host(), 'early');
    const uuid = (await host().sh('virsh domuuid early')).stdout.trim();
    const tags = await tagsOf('early');
    expect(tags).toContain(`lvp:domain:${uuid}`);
    expect(tags).not.toMatch(/job|lvp:format/);
    await host().sh('virsh start early');
    await host().sh('virsh destroy early');
    expect(await deviceDigest(host(), '/dev/vg0/early')).toBe(digest);
    const { stdout } = await host().sh('lvp job list --volume early --json');
    const { jobs } = JSON.parse(stdout) as { readonly jobs: readonly Job[] };
    expect(jobs).toMatchObject([{ state: 'completed', claimedBy: uuid }]);
  });

  it('needs nothing of the store but its word where a rule has brought the image ahead of anybody', async () => {
    const image = join(folder(), 'ahead.raw');
    await writeFile(image, randomBytes(20 << 20));
    await host().putImage(image, 'ahead.raw', { sidecar: true });
    const listed = async () => (await host().sh('lvp image ls')).stdout;
    await eventually('it is here', async () =>
      /images\/ahead\.raw .* pinned by the configuration/.test(await listed()) ? true : undefined,
    );
    expect(await listed()).toContain('1 of 1 here');
    const readBytes = async () =>
      Number(/^lvp_store_read_bytes_total (\d+)$/m.exec((await host().sh('lvp metrics')).stdout)?.[1]);
    const before = await readBytes();
    const { id } = await create('ahead', 'ahead.raw');
    await host().sh(`lvp job status ${id} --watch`);
    expect(await jobOf(id)).toMatchObject({ state: 'completed', cacheHit: true });
    expect(await readBytes()).toBe(before);
    expect(await deviceDigest(host(), '/dev/vg0/ahead')).toBe(await expectedDigest(image, 'raw'));
    const kept = await host().sh('lvp image gc --all; lvp image rm images/ahead.raw', { reject: false });
    expect(kept.stderr).toContain('pinned by the configuration');
    expect(await listed()).toContain('images/ahead.raw');
  });

  it('is refused to a domain that asks for something else, and named', async () => {
    const { id } = await create('other', 'small.raw');
    await eventually('it is completed', async () =>
      (await jobOf(id)).state === 'completed' ? true : undefined,
    );
    const before = await tagsOf('other');
    await define(host(), { name: 'other', image: 'small.raw', attributes: `sha256="${'0'.repeat(64)}"` });
    const refused = await host().sh('virsh start other', { reject: false });
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toContain(`was filled by job ${id}`);
    expect(await tagsOf('other')).toBe(before);
  });

  it('goes on after a restart in the middle, with the fill that it had', async () => {
    const { id, fillId } = await beginSlowJob('slow');
    await host().sh('systemctl restart libvirt-volume-provisioner');
    expect(['pending', 'running']).toContain((await jobOf(id)).state);
    await limitRate(host(), undefined);
    const job = await eventually(
      'it is completed',
      async () => {
        const found = await jobOf(id);
        expect(found.state).not.toBe('failed');
        return found.state === 'completed' ? found : undefined;
      },
      { timeoutMs: 120_000, intervalMs: 500 },
    );
    expect(job.fillId).toBe(fillId);
    expect(await deviceDigest(host(), '/dev/vg0/slow')).toBe(
      await expectedDigest(join(folder(), 'slow.raw'), 'raw'),
    );
    expect(await privateVolumes(host())).toEqual([]);
  });

  it('that is cancelled leaves nothing, and one that is completed cannot be', async () => {
    const { id } = await beginSlowJob('gone');
    expect(await privateVolumes(host())).toHaveLength(1);
    await host().sh(`lvp job cancel ${id}`);
    expect(await privateVolumes(host())).toEqual([]);
    expect((await jobOf(id)).state).toBe('cancelled');
    await limitRate(host(), undefined);
    const retried = await host().sh(`lvp job retry ${id} && lvp job status ${id} --watch`, { reject: false });
    expect(retried.exitCode).toBe(0);
    const refused = await host().sh(`lvp job cancel ${id}`, { reject: false });
    expect(refused.exitCode).toBe(5);
    expect((await host().sh('lvp gc --dry-run', { reject: false })).exitCode).toBe(0);
  });

  /** lvp over the network, by a token and by a client certificate, says what it says on the host. */
  async function asksFromAfar(id: string): Promise<void> {
    const lvp = (words: string) =>
      host().sh(`lvp --server https://minio.test:8080 --server-ca /etc/minio-test/ca.pem ${words}`, {
        reject: false,
      });
    const token = '--token-file /root/token';
    const admin = '--client-cert /root/admin.crt --client-key /root/admin.key';
    for (const words of [
      'list --json',
      'job list --json',
      `job status ${id}`,
      'status early --json',
      'image ls --stored',
    ])
      expect((await lvp(`${token} ${words}`)).stdout).toBe((await host().sh(`lvp ${words}`)).stdout);
    expect((await lvp(`${admin} status early`)).stdout).toContain('vda ready');
    expect((await lvp(`${admin} audit --json`)).stdout).toContain('token:ci');
    expect((await lvp(`${admin} job cancel ${id}`)).exitCode).toBe(5);
    expect((await lvp('list')).exitCode).toBe(4);
    expect((await lvp(`${token} doctor`)).exitCode).toBe(2);
  }

  it('is asked for over the network, in the words of the Go provisioner', async () => {
    const etc = '/etc/libvirt-volume-provisioner';
    await host().sh(
      `umask 077; install -d -o libvirt-volume-provisioner ${etc}/tls
       install -o libvirt-volume-provisioner -m 600 /etc/minio-test/certs/private.key ${etc}/tls/server.key
       install -m 644 /etc/minio-test/certs/public.crt ${etc}/tls/server.crt
       (echo 'http:'; echo '  listen: 0.0.0.0:8080'; echo "  tokens_file: ${etc}/tokens"
        echo "  tls: {cert_file: ${etc}/tls/server.crt, key_file: ${etc}/tls/server.key, client_ca_file: ${etc}/tls/clients.crt}"
        echo '  identities:'
        echo '    - {token: ci, verbs: [read, provision, cancel], volume_prefixes: [ci-]}'
        echo '    - {certificate: admin, verbs: [read, audit]}'
       ) >>${etc}/config.yaml
       openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=clients -days 30 \
         -keyout /root/clients.key -out /root/clients.crt
       openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=admin -days 30 \
         -CA /root/clients.crt -CAkey /root/clients.key -keyout /root/admin.key -out /root/admin.crt \
         -addext basicConstraints=critical,CA:FALSE
       install -m 644 /root/clients.crt ${etc}/tls/clients.crt
       printf 'X-API-Token: ' >/root/header; lvp token create ci >>/root/header
       lvp config check; systemctl restart libvirt-volume-provisioner`,
    );
    const ask = async (path: string, body?: object, header = '/root/header') => {
      const data = body === undefined ? '' : `--json '${JSON.stringify(body)}'`;
      const { stdout } = await host().sh(
        `curl --silent --cacert /etc/minio-test/ca.pem --header @${header} --write-out '\n%{http_code}' ${data} https://minio.test:8080${path}`,
      );
      const [answer = '', status] = stdout.split('\n');
      return { status: Number(status), answer: JSON.parse(answer) as Record<string, unknown> };
    };
    const wanted = {
      ...{ image_url: 'https://minio.test:9000/images/small.raw', image_type: 'raw' },
      ...{ volume_name: 'ci-one', volume_size_gb: 1 },
    };
    expect((await ask('/api/v1/provision', wanted, '/dev/null')).status).toBe(401);
    expect((await ask('/api/v1/provision', { ...wanted, volume_name: 'web' })).status).toBe(403);
    const { status, answer } = await ask('/api/v1/provision', wanted);
    expect(status).toBe(202);
    const done = await eventually('it has ended', async () => {
      const found = (await ask(`/api/v1/status/${String(answer['job_id'])}`)).answer;
      return found['status'] === 'pending' || found['status'] === 'running' ? undefined : found;
    });
    expect(done).toMatchObject({ status: 'completed', progress: { percent: 100 } });
    expect(await deviceDigest(host(), '/dev/vg0/ci-one')).toBe(
      await expectedDigest(join(folder(), 'small.raw'), 'raw', 1 << 30),
    );
    const { stdout: shown } = await host().sh(
      `for header in /root/header /dev/null; do
         curl --silent --cacert /etc/minio-test/ca.pem --header @$header --write-out '%{http_code} %{content_type}\n' https://minio.test:8080/ui
       done | grep -E '>vg0/ci-one<|</html>'`,
    );
    expect(shown).toMatch(/>vg0\/ci-one<[^]*<\/html>200 text\/html.*\n *<\/html>401 text\/html/);
    const { stdout: audit } = await host().sh('lvp audit --json');
    // Both the job's fill and who asked for it, by one name.
    const { stdout: ofJob } = await host().sh(`lvp audit --domain ${String(answer['job_id'])}`);
    expect(ofJob).toMatch(/ provision .* by token:ci /);
    expect(ofJob).toMatch(new RegExp(` fill vg0/ci-one by job:${String(answer['job_id'])} `));

    expect(audit).toMatch(/token:ci/);
    expect(audit).toMatch(/unauthorized/);
    await host().sh(`umask 077; cut -d' ' -f2 /root/header >/root/token`);
    await asksFromAfar(String(answer['job_id']));
    const { stdout: leaked } = await host().sh(
      `journalctl --all | grep -F -f /root/token || true
       grep -rlsF -f /root/token /etc /run /var/lib/libvirt-volume-provisioner || true`,
    );
    expect(leaked).toBe('');
  });
});

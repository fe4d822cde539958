/**
 * Something is wrong on a host: it is frozen, looked at, gets new keys, and goes on where it was. Later its
 * configuration and state are lost, and come back from a backup.
 */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  beginSlowFill,
  define,
  expectFilled,
  limitRate,
  privateVolumes,
  published,
  putRandomImages,
  SLOW_IMAGE_BYTES,
  statusOf,
  useProvisionedHost,
} from './provisioned-host.ts';

const NAME = 'libvirt-volume-provisioner';
const ETC = `/etc/${NAME}`;
const HOOK = `/etc/libvirt/hooks/qemu.d/50-${NAME}`;

describe('an incident', () => {
  const { host, folder } = useProvisionedHost('incident');
  let fillId: string | undefined;
  const sh = async (script: string): Promise<string> => (await host().sh(script)).stdout;
  /** What whoever presses start is told; undefined if the domain may start. */
  async function refusal(name: string): Promise<string | undefined> {
    const { exitCode, stderr } = await host().sh(`virsh dumpxml ${name} | ${HOOK} ${name} prepare begin -`, {
      reject: false,
    });
    return exitCode === 0 ? undefined : stderr;
  }

  beforeAll(async () => {
    await putRandomImages(host(), folder(), { 'small.raw': 5, 'slow.raw': SLOW_IMAGE_BYTES >> 20 });
    await define(host(), { name: 'web', image: 'small.raw' });
    await published(host(), 'web');
    await beginSlowFill(host(), { name: 'during', image: 'slow.raw' });
    fillId = (await statusOf(host(), 'during')).volumes[0]?.fillId;
  });

  it('is frozen: no annotated domain starts, with the daemon and without it, and fills keep what they have', async () => {
    expect(await refusal('web')).toBeUndefined();
    await sh('lvp incident freeze --reason "ticket 4711"');
    await limitRate(host(), undefined);
    expect(await refusal('web')).toMatch(/frozen.*ticket 4711.*lvp incident thaw/);
    await sh(`systemctl stop ${NAME}`);
    expect(await refusal('web')).toMatch(/frozen.*ticket 4711.*lvp incident thaw/);
    await sh(`systemctl start ${NAME}`);
    expect(await refusal('web')).toMatch(/frozen.*ticket 4711.*lvp incident thaw/);
    expect(await privateVolumes(host())).toEqual([`lvp-fill-${fillId}`]);
    const { stdout: report } = await host().sh('lvp doctor --json', { reject: false });
    expect(report).toMatch(/"id": *"health.frozen"/);
  });

  it('is reported, without a secret', async () => {
    await sh('lvp incident report --output /root/incident.tar.gz');
    expect(await sh('stat -c %a /root/incident.tar.gz')).toBe('600');
    const found = await sh(
      `umask 077; cat ${ETC}/credentials/* | sed 's/$/\\n/' >/root/keys; mkdir /root/report
       tar -C /root/report -xzf /root/incident.tar.gz; grep -rlF -f <(grep . /root/keys) /root/report || true`,
    );
    expect(found).toBe('');
    expect(await sh('find /root/report -name index.json -exec cat {} +')).toContain('ledger');
  });

  it('ends with new keys, which the store is asked about first, and fills go on where they were', async () => {
    await sh(
      `sed -i 's/^MINIO_ROOT_PASSWORD=.*/MINIO_ROOT_PASSWORD=another-that-nobody-knows-yet-4711/' /etc/minio-test/env
       systemctl restart minio`,
    );
    const reload = async (secret: string) => {
      await host().sh(`cat >${ETC}/credentials/minio-secret-key`, { input: secret });
      return host().sh(`systemctl reload ${NAME} 2>&1; journalctl -u ${NAME} -n 30 -o cat`, {
        reject: false,
      });
    };
    const { stdout: refused } = await reload('wrong-by-one-letter');
    expect(refused).toMatch(/Job for .* failed/);
    const daemon = await sh(`systemctl show -P MainPID ${NAME}`);
    const { stdout: taken } = await reload('another-that-nobody-knows-yet-4711');
    expect(taken).not.toMatch(/Job for .* failed/);
    await sh('lvp incident thaw');
    await expectFilled(host(), 'during', join(folder(), 'slow.raw'));
    expect((await statusOf(host(), 'during')).volumes[0]?.fillId).toBe(fillId);
    expect(await sh(`systemctl show -P MainPID ${NAME}`)).toBe(daemon);
    expect(await refusal('web')).toBeUndefined();
    expect(await sh('lvp audit --who uid:0')).toMatch(
      /incident freeze[^]*incident thaw|incident thaw[^]*incident freeze/,
    );
  });

  it('that took configuration and state with it is made good from a backup', async () => {
    await sh(
      `lvp backup --output /root/lvp.tar.gz; systemctl stop ${NAME}
       find ${ETC} /var/lib/${NAME} -mindepth 1 -delete`,
    );
    await sh(`lvp restore /root/lvp.tar.gz && lvp config check && systemctl start ${NAME}`);
    for (const name of ['web', 'during']) {
      await published(host(), name);
      expect(await refusal(name)).toBeUndefined();
    }
    await define(host(), { name: 'after', image: 'small.raw' });
    await expectFilled(host(), 'after', join(folder(), 'small.raw'));
  });
});

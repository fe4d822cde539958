/**
 * A published volume is made again only when somebody says so, and then as a whole or not at all; and a domain
 * that libvirt does not know yet finds its volume ready.
 */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ShResult } from './host.ts';
import { eventually } from './host.ts';
import type { TestDomain } from './provisioned-host.ts';
import {
  define,
  deviceDigest,
  domainXml,
  expectedDigest,
  limitRate,
  privateVolumes,
  published,
  putRandomImages,
  soilFreeSpace,
  statusOf,
  useProvisionedHost,
} from './provisioned-host.ts';

/** So that the new content ends in the middle of an extent. */
const SIZES_MIB = { 'old.raw': 8, 'new.raw': 5 };

describe('a published volume', () => {
  const { host, folder } = useProvisionedHost('reprov');
  const again: TestDomain = { name: 'again', image: 'old.raw' };
  const wrong: TestDomain = { name: 'wrong', image: 'old.raw' };

  beforeAll(async () => {
    await putRandomImages(host(), folder(), SIZES_MIB);
    await soilFreeSpace(host(), 64);
    for (const domain of [again, wrong]) {
      await define(host(), domain);
      await published(host(), domain.name);
    }
  });

  function reprovision(name: string): Promise<ShResult> {
    return host().sh(`lvp reprovision ${name} vda --confirm ${name}/vda`, { reject: false });
  }

  async function uuidOf(name: string): Promise<string> {
    return (await host().sh(`virsh domuuid ${name}`)).stdout.trim();
  }

  it('is made again from what the annotation asks for now, and its domain does not start meanwhile', async () => {
    await define(host(), { ...again, image: 'new.raw', uuid: await uuidOf('again') });
    await eventually('the drift is seen', async () => (await statusOf(host(), 'again')).volumes[0]?.drift);
    await limitRate(host(), 0.5);
    const begun = await reprovision('again');
    expect([begun.stderr, begun.exitCode]).toEqual(['', 0]);
    const [aside = ''] = (await privateVolumes(host())).filter((lv) => lv.startsWith('lvp-old-'));
    expect((await host().sh(`stat -L -c %U /dev/vg0/${aside}`)).stdout).toBe('root');
    expect((await statusOf(host(), 'again')).volumes[0]).toMatchObject({ aside: `vg0/${aside}` });
    const start = await host().sh('virsh start again', { reject: false });
    expect(start.exitCode).not.toBe(0);
    await limitRate(host(), undefined);
    const { volumes } = await published(host(), 'again');
    expect(volumes[0]?.problem).toBeUndefined();
    await eventually('the old one is gone', async () =>
      (await privateVolumes(host())).length === 0 ? true : undefined,
    );
    expect(await deviceDigest(host(), '/dev/vg0/again')).toBe(
      await expectedDigest(join(folder(), 'new.raw'), 'raw'),
    );
    expect((await host().sh('virsh vol-list guests')).stdout).not.toContain('lvp-');
  });

  it('is put back, byte for byte, when the new content has another digest', async () => {
    // What a guest has made of it.
    await host().sh(
      'tr "\\0" "\\125" </dev/zero | dd of=/dev/vg0/wrong bs=1M count=2 seek=3 oflag=direct iflag=fullblock',
    );
    const before = await deviceDigest(host(), '/dev/vg0/wrong');
    const { stdout: uuidBefore } = await host().sh('lvs --noheadings -o lv_uuid,lv_tags vg0/wrong');
    await define(host(), {
      ...{ ...wrong, image: 'new.raw', attributes: `sha256="${'0'.repeat(64)}"` },
      uuid: await uuidOf('wrong'),
    });
    expect((await reprovision('wrong')).exitCode).toBe(0);
    await eventually('it is put back', async () => {
      const [volume] = (await statusOf(host(), 'wrong')).volumes;
      return volume?.state === 'ready' && volume.problem?.code === 'DIGEST_MISMATCH' ? true : undefined;
    });
    expect(await deviceDigest(host(), '/dev/vg0/wrong')).toBe(before);
    expect((await host().sh('lvs --noheadings -o lv_uuid,lv_tags vg0/wrong')).stdout).toBe(uuidBefore);
    expect((await host().sh('stat -L -c %U /dev/vg0/wrong')).stdout).toBe('root');
    expect(await privateVolumes(host())).toEqual([]);
    expect((await host().sh('lvp explain wrong')).stdout).toContain('start would be allowed');
  });

  it('filled ahead of virsh create lets it start at the first try, and stays as it is while the guest runs', async () => {
    const xml = domainXml({ name: 'ahead', image: 'new.raw', uuid: '0f0e0d0c-0b0a-4908-8706-050403020100' });
    await host().sh('cat >/tmp/ahead.xml', { input: xml });
    const provisioned = await host().sh('lvp provision --xml /tmp/ahead.xml', { reject: false });
    expect([provisioned.stderr, provisioned.exitCode]).toEqual(['', 0]);
    expect(await deviceDigest(host(), '/dev/vg0/ahead')).toBe(
      await expectedDigest(join(folder(), 'new.raw'), 'raw'),
    );
    await host().sh('virsh create /tmp/ahead.xml');
    expect((await host().sh('virsh domstate ahead')).stdout).toMatch(/^running/);
    const refused = await reprovision('ahead');
    expect(refused.exitCode).toBe(5);
    expect(refused.stderr).toContain('the domain is running');
    const known = await host().sh('lvp provision --xml - </tmp/ahead.xml', { reject: false });
    expect(known.exitCode).toBe(5);
    expect(known.stderr).toContain('Nothing needs to be done');
    await host().sh('virsh destroy ahead');
  });
});

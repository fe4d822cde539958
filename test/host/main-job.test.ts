/**
 * The main job: `virsh define` of an annotated domain, then nothing else, ends with a published volume whose
 * every byte is right; and a guest boots from it.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { eventually } from './host.ts';
import {
  define,
  deviceDigest,
  expectedDigest,
  privateVolumes,
  published,
  soilFreeSpace,
  useProvisionedHost,
} from './provisioned-host.ts';

const MIB = 1 << 20;

describe('an annotated domain that is defined', () => {
  const { host, folder } = useProvisionedHost('mainjob');

  /** 20 MiB of data in four places of a 64 MiB disk, and a size that is no multiple of anything large. */
  async function makeImage(name: string, ...options: string[]): Promise<string> {
    const raw = join(folder(), `${name}.source`);
    const image = join(folder(), name);
    const disk = Buffer.alloc(64 * MIB + 1536);
    for (const offset of [0, 17, 40, 59]) randomBytes(5 * MIB).copy(disk, offset * MIB + 512);
    await writeFile(raw, disk);
    await execa('qemu-img', [
      'convert',
      '-f',
      'raw',
      '-O',
      name.endsWith('.raw') ? 'raw' : 'qcow2',
      ...options,
      raw,
      image,
    ]);
    return image;
  }

  it.each([
    ['plain.raw', 'raw', []],
    ['plain.qcow2', 'qcow2', []],
    ['zlib.qcow2', 'qcow2', ['-c']],
    ['zstd.qcow2', 'qcow2', ['-c', '-o', 'compression_type=zstd']],
  ] as const)('gets %s, byte for byte, with zeros to the end', async (key, format, options) => {
    const image = await makeImage(key, ...options);
    await soilFreeSpace(host(), 256);
    await host().putImage(image, key, { sidecar: true });
    const name = key.replace('.', '-');
    await define(host(), { name, image: key, format });
    await published(host(), name);
    expect(await deviceDigest(host(), `/dev/vg0/${name}`)).toBe(await expectedDigest(image, format));
    expect(await privateVolumes(host())).toEqual([]);
    const { stdout } = await host().sh(`virsh vol-list guests; stat -Lc '%U:%G %a' /dev/vg0/${name}`);
    expect(stdout).toContain(`/dev/vg0/${name}`);
    expect(stdout).toContain('root:disk 660');
  });

  it('gets a larger volume if it asks for one', async () => {
    const image = await makeImage('small.qcow2');
    await soilFreeSpace(host(), 256);
    await host().putImage(image, 'small.qcow2', { sidecar: true });
    await define(host(), {
      name: 'larger',
      image: 'small.qcow2',
      format: 'qcow2',
      attributes: 'size="200MiB"',
    });
    await published(host(), 'larger');
    expect(await deviceDigest(host(), '/dev/vg0/larger')).toBe(
      await expectedDigest(image, 'qcow2', 200 * MIB),
    );
  });

  it('is told of: in the audit trail, in the journal, in the metrics and in its own log', async () => {
    const image = await makeImage('told.qcow2');
    await host().putImage(image, 'told.qcow2', { sidecar: true });
    await define(host(), { name: 'told', image: 'told.qcow2', format: 'qcow2' });
    await published(host(), 'told');
    await host().sh('lvp cancel told');
    const { stdout: audit } = await host().sh('lvp audit --domain told');
    expect(audit).toMatch(/allowed begun fill vg0\/told by domain:/);
    expect(audit).toMatch(/allowed done publish vg0\/told by domain:/);
    expect(audit).toMatch(/allowed done cancel domain:\S+ by uid:0/);
    await eventually('the journal has it too', async () => {
      const { stdout } = await host().sh('journalctl -o cat -t libvirt-volume-provisioner-audit');
      return /"what":"publish","volume":"vg0\/told".*"outcome":"done"/.test(stdout) ? true : undefined;
    });
    const { stdout: unit } = await host().sh(
      'journalctl -o cat -u libvirt-volume-provisioner -t libvirt-volume-provisioner-audit | tail -n 1',
    );
    expect(JSON.parse(unit)).toMatchObject({ decision: 'allowed' });
    expect((await host().sh('lvp logs told vda')).stdout).toMatch(/ info {2}vda [0-9a-f]{16} published/);
    expect((await host().sh('lvp metrics')).stdout).toMatch(
      /^lvp_volume_group_free_bytes\{vg="vg0"\} [1-9]/m,
    );
  });

  it('boots from it', async () => {
    const { stdout: sector } = await execa(join(import.meta.dirname, 'boot-sector'), { encoding: 'buffer' });
    const image = join(folder(), 'boot.raw');
    await writeFile(image, Buffer.concat([sector, Buffer.alloc(MIB - sector.length)]));
    await host().putImage(image, 'boot.raw', { sidecar: true });
    await define(host(), { name: 'boots', image: 'boot.raw' });
    await published(host(), 'boots');
    await host().sh('virsh start boots', { timeoutMs: 180_000 });
    await eventually(
      'the guest speaks',
      async () => {
        const { stdout } = await host().sh('cat /var/log/libvirt/qemu/boots-serial.log');
        return stdout.includes('LVP-BOOT-OK') ? true : undefined;
      },
      { timeoutMs: 60_000 },
    );
    await host().sh('virsh destroy boots');
  });

  it('with 64 MiB is published within seconds', async () => {
    const image = join(folder(), 'timed.raw');
    await writeFile(image, randomBytes(64 * MIB));
    await host().putImage(image, 'timed.raw', { sidecar: true });
    const begun = performance.now();
    await define(host(), { name: 'timed', image: 'timed.raw' });
    await host().sh('until [ -e /dev/vg0/timed ]; do sleep 0.05; done');
    process.stdout.write(`from define to published, 64 MiB: ${Math.round(performance.now() - begun)} ms\n`);
    await published(host(), 'timed');
  });
});

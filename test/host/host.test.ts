import { randomBytes, createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { collectLogsOnFailure, eventually, Host } from './host.ts';

// The other tests rest on what a test host promises; here it is held to that.
describe('a test host', () => {
  let host: Host | undefined;
  const running = (): Host => host ?? expect.fail('the host did not boot');
  collectLogsOnFailure(() => host);
  beforeAll(async () => {
    host = await Host.up('self');
  });
  afterAll(async () => {
    await host?.down();
  });

  test('has its services running and its pool started', async () => {
    const { stdout } = await running().sh(`
      systemctl is-system-running
      virsh pool-info guests
      busctl call org.libvirt /org/libvirt/QEMU org.libvirt.Connect ListStoragePools u 0`);
    expect(stdout).toMatch(/^running\n/);
    expect(stdout).toMatch(/State:\s+running/);
    expect(stdout).toMatch(/Autostart:\s+yes/);
    expect(stdout).toMatch(/^ao 1 /m);
  });

  test('passes bytes, both outputs and the exit code through', async () => {
    // Much more than one packet: large transfers take another way through the network than small ones.
    const input = randomBytes(4 << 20);
    const digest = createHash('sha256').update(input).digest('hex');
    expect((await running().sh('base64 --wrap 0', { input })).stdout).toBe(input.toString('base64'));
    const { stdout } = await running().sh('sha256sum', { input });
    expect(stdout).toContain(digest);
    expect(await running().sh('echo out; echo err >&2; exit 7', { reject: false })).toEqual({
      stdout: 'out',
      stderr: 'err',
      exitCode: 7,
    });
    await expect(running().sh('echo out; echo err >&2; exit 7')).rejects.toThrow(/out\nerr/);
  });

  test('serves an image with its digest', async () => {
    const file = path.join(running().sharedDir, 'image');
    await writeFile(file, 'image');
    await running().putImage(file, 'folder/test.raw', { sidecar: true });
    const { stdout } = await running().sh('/mnt/seed/s3 images/folder/test.raw.sha256');
    expect(stdout).toBe(`${createHash('sha256').update('image').digest('hex')}  test.raw`);
  });

  test('comes back from a power cut with its disks', async () => {
    await running().sh('lvcreate --name kept --size 64M vg0 && echo kept >/root/kept && sync');
    await running().kill();
    await expect(running().sh('true')).rejects.toThrow(/is off/);
    await running().boot();
    await running().sh('test -b /dev/vg0/kept && grep kept /root/kept');
    await eventually('the pool lists the volume', async () => {
      const { stdout } = await running().sh('virsh vol-list guests');
      return stdout.includes('kept') ? stdout : undefined;
    });
  });
});

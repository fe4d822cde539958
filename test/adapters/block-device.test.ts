import { execFileSync } from 'node:child_process';
import {
  mkdtempSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  BlockDevices,
  deviceNumbers,
  openBlockDevice,
  openVolumeFile,
} from '../../src/adapters/block-device.ts';
import type { VolumeDevice } from '../../src/provision/ports.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 64 * MIB + 512;
const folder = mkdtempSync(join(tmpdir(), 'device-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function oldFile(name: string): string {
  const path = join(folder, name);
  writeFileSync(path, Buffer.alloc(SIZE_BYTES, 0xa5));
  return path;
}

/** What a device must do, whichever it is. */
async function exercise(device: VolumeDevice, expected: Buffer): Promise<void> {
  const write = async (bytes: Buffer, at: number) => {
    await device.write(bytes, at);
    bytes.copy(expected, at);
  };
  const zero = async (at: number, lengthBytes: number) => {
    await device.zero(at, lengthBytes);
    expected.fill(0, at, at + lengthBytes);
  };
  expect(device.sizeBytes).toBe(SIZE_BYTES);
  await write(Buffer.alloc(3 * MIB, 1), 4096);
  await write(Buffer.alloc(1, 2), SIZE_BYTES - 1);
  await write(Buffer.alloc(777, 3), 5 * MIB + 13);
  await zero(5 * MIB + 100, 40 * MIB + 5);
  await zero(100, 50);
  await zero(60 * MIB, SIZE_BYTES - 60 * MIB);
  await device.sync();
}

describe('a plain file as a volume', () => {
  it('takes writes and zeros at any place', async () => {
    const path = oldFile('plain');
    const device = await openVolumeFile(path);
    const expected = readFileSync(path);
    await exercise(device, expected);
    await device.close();
    expect(Buffer.compare(readFileSync(path), expected)).toBe(0);
  });

  it('is never written outside', async () => {
    const path = oldFile('outside');
    const device = await openVolumeFile(path);
    await expect(device.write(Buffer.alloc(2), SIZE_BYTES - 1)).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect(device.write(Buffer.alloc(2), -1)).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect(device.zero(0, SIZE_BYTES + 1)).rejects.toMatchObject({ code: 'INTERNAL' });
    await device.close();
    expect(readFileSync(path).every((byte) => byte === 0xa5)).toBe(true);
  });
});

describe('names', () => {
  it.each(['..', '.', '', 'a/b', '-a', 'a b'])('%j is refused', async (name) => {
    await expect(new BlockDevices().open('vg', name)).rejects.toMatchObject({ code: 'DEVICE_FAILED' });
    await expect(new BlockDevices().open(name, 'lv')).rejects.toMatchObject({ code: 'DEVICE_FAILED' });
  });

  it('a file or nothing in place of the device is refused', async () => {
    mkdirSync(join(folder, 'vg'));
    writeFileSync(join(folder, 'vg', 'file'), 'x');
    const devices = new BlockDevices({ deviceFolder: folder });
    await expect(devices.open('vg', 'file')).rejects.toMatchObject({ code: 'DEVICE_FAILED' });
    await expect(devices.open('vg', 'none')).rejects.toMatchObject({ code: 'VOLUME_MISSING' });
  });

  it('device numbers are split as glibc does', () => {
    expect(deviceNumbers(0xfd03)).toEqual({ major: 253, minor: 3 });
    expect(deviceNumbers(0x1000_0702)).toEqual({ major: 7, minor: 0x10002 });
  });
});

/** Loop devices need root and a kernel that has them; the test host always does. */
function attachLoop(path: string): string | undefined {
  try {
    return execFileSync('losetup', ['--find', '--show', path], { encoding: 'utf8', stdio: 'pipe' }).trim();
  } catch {
    return undefined;
  }
}

describe('a block device', () => {
  const path = oldFile('loop');
  let loop: string | undefined;
  beforeAll(() => {
    loop = attachLoop(path);
  });
  afterAll(() => {
    if (loop !== undefined) execFileSync('losetup', ['--detach', loop]);
  });

  it.for([
    ['/usr/bin/fallocate', '/bin/false'],
    ['/bin/false', '/usr/sbin/blkdiscard'],
    ['/no/such/program', '/bin/false'],
  ] as const)('takes writes and zeros with %s and %s', async ([fallocate, blkdiscard], { skip }) => {
    if (loop === undefined) return skip('no loop devices here');
    mkdirSync(join(folder, `vg${fallocate.length}`));
    symlinkSync(loop, join(folder, `vg${fallocate.length}`, 'lv'));
    const devices = new BlockDevices({ deviceFolder: folder, zeroPrograms: { fallocate, blkdiscard } });
    const device = await devices.open(`vg${fallocate.length}`, 'lv');
    const expected = readFileSync(path);
    await exercise(device, expected);
    await device.close();
    expect(Buffer.compare(readFileSync(loop), expected)).toBe(0);
  });

  it('is opened by one at a time', async ({ skip }) => {
    if (loop === undefined) return skip('no loop devices here');
    const device = await openBlockDevice(loop);
    await expect(openBlockDevice(loop)).rejects.toMatchObject({
      code: 'DEVICE_FAILED',
      message: expect.stringContaining('in use') as string,
    });
    await device.close();
    await (await openBlockDevice(loop)).close();
  });

  it('reports a write that was lost, at once or when it syncs', async ({ skip }) => {
    // A loop device of 8 MiB on a file system of 1 MiB. Through the page cache, writing would succeed.
    const small = join(folder, 'small');
    mkdirSync(small);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', small], { stdio: 'pipe' });
    } catch {
      return skip('no mounts here');
    }
    let shortLoop: string | undefined;
    try {
      writeFileSync(join(small, 'file'), '');
      truncateSync(join(small, 'file'), 8 * MIB);
      shortLoop = attachLoop(join(small, 'file'));
      if (shortLoop === undefined) return skip('no loop devices here');
      const device = await openBlockDevice(shortLoop);
      const writing = device.write(Buffer.alloc(4 * MIB, 1), 0).then(() => device.sync());
      const failure: unknown = await writing.then(
        () => undefined,
        (error: unknown) => error,
      );
      expect(failure).toMatchObject({
        code: expect.stringMatching(/^(DEVICE_FAILED|VG_FULL)$/) as string,
      });
      await expect(device.sync()).rejects.toBe(failure);
      await device.close();
    } finally {
      if (shortLoop !== undefined) execFileSync('losetup', ['--detach', shortLoop]);
      execFileSync('umount', ['--lazy', small]);
    }
  });
});

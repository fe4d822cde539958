import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
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
import { WorkerThreads } from '../../src/adapters/threads.ts';
import { alignedMemory } from '../../src/core/images/aligned-memory.ts';
import type { VolumeDevice } from '../../src/provision/ports/volumes.ts';

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
  await expectToRead(device, expected);
}

/** Any place, length and memory: within a block, over the edges of blocks, and in large pieces. */
async function expectToRead(device: VolumeDevice, expected: Buffer): Promise<void> {
  const memory = new Uint8Array(alignedMemory(3 * MIB));
  const ranges: (readonly [offsetBytes: number, lengthBytes: number])[] = [
    ...([
      [0, 2 * MIB],
      [4096, 512],
      [511, 2],
      [5 * MIB + 100, 0],
      [5 * MIB + 1, 2000],
    ] as const),
    ...([
      [5 * MIB - 1, MIB + 4098],
      [46 * MIB + 3, 600_001],
      [SIZE_BYTES - 700, 700],
    ] as const),
    [SIZE_BYTES - 1, 1],
  ];
  for (const [at, lengthBytes] of ranges) {
    const targets = [
      memory.subarray(0, lengthBytes),
      // So that the whole blocks of the range can go where they belong without a copy.
      memory.subarray(at % 4096, (at % 4096) + lengthBytes),
      memory.subarray(13, 13 + lengthBytes),
      new Uint8Array(lengthBytes),
    ];
    for (const target of targets) {
      memory.fill(0x77);
      await device.read(target, at);
      expect(Buffer.compare(target, expected.subarray(at, at + lengthBytes))).toBe(0);
    }
    // Nothing beside the target is touched.
    await device.read(memory.fill(0x77).subarray(4096, 4096 + lengthBytes), at);
    expect([memory[4095], memory[4096 + lengthBytes]]).toEqual([0x77, 0x77]);
  }
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
    await expect(device.read(Buffer.alloc(2), SIZE_BYTES - 1)).rejects.toMatchObject({ code: 'INTERNAL' });
    await device.close();
    expect(readFileSync(path).every((byte) => byte === 0xa5)).toBe(true);
  });

  it('says which device cannot be read, and where', async () => {
    const path = oldFile('short');
    const device = await openVolumeFile(path);
    truncateSync(path, MIB);
    await expect(device.read(new Uint8Array(100), MIB - 50)).rejects.toMatchObject({
      code: 'DEVICE_FAILED',
      message: `Cannot read 100 bytes at ${MIB - 50} of ${path}: the device ends before its size.`,
    });
    await device.sync();
    await device.close();
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

  it('of an encrypted volume leads to its mapping, and never to the volume itself', async () => {
    const devices = new BlockDevices({ deviceFolder: folder });
    await expect(devices.open('vg', 'lvp-fill-0123456789abcdef', 'luks1')).rejects.toMatchObject({
      code: 'VOLUME_MISSING',
      message: `There is no device ${folder}/mapper/lvp-crypt-0123456789abcdef.`,
    });
    await expect(devices.open('vg', 'web-root', 'luks1')).rejects.toMatchObject({ code: 'DEVICE_FAILED' });
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

  it('is zeroed by a thread, exactly as far as it is asked to', async ({ skip }) => {
    if (loop === undefined) return skip('no loop devices here');
    const threads = new WorkerThreads(1);
    let zeroedBytes = 0;
    const device = await openBlockDevice(loop, {
      zeroPrograms: { fallocate: '/bin/false', blkdiscard: '/bin/false' },
      zero: async (fd, offsetBytes, lengthBytes) => {
        const isZeroed = await threads.zero(fd, offsetBytes, lengthBytes);
        if (isZeroed) zeroedBytes += lengthBytes;
        return isZeroed;
      },
    });
    const expected = readFileSync(path);
    await exercise(device, expected);
    await device.close();
    await threads.end();
    expect(Buffer.compare(readFileSync(loop), expected)).toBe(0);
    expect(zeroedBytes).toBeGreaterThan(0);
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

  it('that is a mapping takes no label of LVM', async ({ skip }) => {
    if (loop === undefined) return skip('no loop devices here');
    mkdirSync(join(folder, 'mapper'));
    symlinkSync(loop, join(folder, 'mapper', 'lvp-crypt-0123456789abcdef'));
    const devices = new BlockDevices({ deviceFolder: folder });
    const device = await devices.open('vg', 'lvp-fill-0123456789abcdef', 'luks1');
    try {
      const label = Buffer.from('LABELONE');
      await expect(device.write(label, 512)).rejects.toMatchObject({ code: 'IMAGE_FORBIDDEN_FEATURE' });
    } finally {
      await device.close();
    }
  });

  it('is read from the disk, whatever this host remembers of it', async ({ skip }) => {
    if (loop === undefined) return skip('no loop devices here');
    const remembering = openSync(loop, 'r');
    const device = await openBlockDevice(loop);
    try {
      const place = 7 * MIB;
      await device.write(Buffer.alloc(8192, 0x11), place);
      await device.sync();
      const remembered = Buffer.alloc(8192);
      readSync(remembering, remembered, 0, 8192, place);
      // Behind the device's back, as a bad disk would.
      const file = openSync(path, 'r+');
      writeSync(file, Buffer.alloc(1, 0x99), 0, 1, place + 5000);
      closeSync(file);
      readSync(remembering, remembered, 0, 8192, place);
      if (remembered[5000] !== 0x11) return skip('nothing is remembered here');
      const found = new Uint8Array(8192);
      await device.read(found, place);
      expect(found[5000]).toBe(0x99);
      await device.read(found.subarray(0, 3), place + 4999);
      expect([...found.subarray(0, 3)]).toEqual([0x11, 0x99, 0x11]);
    } finally {
      await device.close();
      closeSync(remembering);
    }
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

/** Whether there is something on the target of `lvp image write` that would be lost. */
import { open } from 'node:fs/promises';
import { execa } from 'execa';
import { ProvisionError } from '../core/errors.ts';

/** Stricter than for volumes LVM made: both ends, where every file system and partition table has something. */
const END_BYTES = 1024 * 1024;
const PROBE_TIMEOUT_MS = 60_000;

export async function refuseUnlessBlank(path: string, sizeBytes: number): Promise<void> {
  const why = (await whyNotZero(path, sizeBytes)) ?? (await whySigned(path));
  if (why === undefined) return;
  throw new ProvisionError({
    code: 'VOLUME_NOT_BLANK',
    message: `${path} is not blank: ${why}.`,
    hint: 'Nothing was written. If its content is not needed, use --overwrite.',
  });
}

async function whyNotZero(path: string, sizeBytes: number): Promise<string | undefined> {
  const handle = await open(path, 'r');
  try {
    for (const offsetBytes of new Set([0, Math.max(0, sizeBytes - END_BYTES)])) {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(END_BYTES), 0, END_BYTES, offsetBytes);
      const at = buffer.subarray(0, bytesRead).findIndex((byte) => byte !== 0);
      if (at >= 0) return `byte ${offsetBytes + at} is not zero`;
    }
    return undefined;
  } finally {
    await handle.close();
  }
}

/** blkid ends with 2 when it finds nothing. */
async function whySigned(path: string): Promise<string | undefined> {
  const { exitCode, stdout, stderr } = await execa('blkid', ['--probe', '--output', 'export', path], {
    extendEnv: false,
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' },
    timeout: PROBE_TIMEOUT_MS,
    reject: false,
  });
  if (exitCode === 2 && stdout === '') return undefined;
  if (exitCode === 0 || exitCode === 8)
    return `blkid finds ${/^(?:PT)?TYPE=(.+)$/m.exec(stdout)?.[1] ?? 'a signature'}`;
  return `blkid could not say that it is (${stderr || 'it cannot be run'})`;
}

/** Whether there is something on the target of `lvp image write` that would be lost. */
import { execa } from 'execa';
import { ProvisionError } from '../../core/errors.ts';
import type { VolumeDevice } from '../../provision/ports/volumes.ts';

/** Stricter than for volumes LVM made: both ends, where every file system and partition table has something. */
const END_BYTES = 1024 * 1024;
const PROBE_TIMEOUT_MS = 60_000;

export async function refuseUnlessBlank(path: string, device: VolumeDevice): Promise<void> {
  const why = (await whyNotZero(device)) ?? (await whySigned(path));
  if (why === undefined) return;
  throw new ProvisionError({
    code: 'VOLUME_NOT_BLANK',
    message: `${path} is not blank: ${why}.`,
    hint: 'Nothing was written. If its content is not needed, use --overwrite.',
  });
}

/** Reads what is held open, and from the disk: the name may lead elsewhere by now. */
async function whyNotZero(device: VolumeDevice): Promise<string | undefined> {
  const lengthBytes = Math.min(END_BYTES, device.sizeBytes);
  const bytes = Buffer.alloc(lengthBytes);
  for (const offsetBytes of new Set([0, device.sizeBytes - lengthBytes])) {
    await device.read(bytes, offsetBytes);
    const at = bytes.findIndex((byte) => byte !== 0);
    if (at >= 0) return `byte ${offsetBytes + at} is not zero`;
  }
  return undefined;
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

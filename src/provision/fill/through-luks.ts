/**
 * The middle of an encrypted fill: the key is read, the private volume opened, the image written through it, and all
 * closed again. No byte of the image reaches the volume in any other way.
 */
import { toProblem } from '../../core/errors.ts';
import type { KeyReference } from '../../core/key/key-reference.ts';
import type { ReceivingMark, Seal } from '../../core/volume/volume.ts';
import type { FillJournals } from '../ports/fill-journals.ts';
import type { Keys, VolumeKey } from '../ports/keys.ts';
import type { LuksVolumes, PrivateVolume, Volumes } from '../ports/volumes.ts';
import type { FillRun } from './fills.ts';

export interface LuksNeeds {
  readonly luks: LuksVolumes;
  readonly keys: Keys;
  readonly journals?: FillJournals | undefined;
}

/** Reads the key for one use, after which it is wiped. */
async function withKey<T>(
  keys: Keys,
  reference: KeyReference,
  signal: AbortSignal,
  use: (key: VolumeKey) => Promise<T>,
): Promise<T> {
  const key = await keys.read(reference, signal);
  try {
    return await use(key);
  } finally {
    key.wipe();
  }
}

/** Runs `write` while the private volume is open. Whoever publishes it then does so by publishTried(). */
export async function throughLuks<T>(
  needs: LuksNeeds,
  volume: PrivateVolume,
  reference: KeyReference,
  run: Pick<FillRun, 'signal' | 'log'>,
  write: () => Promise<T>,
): Promise<T> {
  const { keys, luks } = needs;
  await withKey(keys, reference, run.signal, (key) => open(needs, volume, key, run));
  let written: T;
  try {
    written = await write();
  } catch (error) {
    await closeOrLeave(needs, volume, run);
    throw error;
  }
  await luks.closeLuks(volume);
  return written;
}

/**
 * Publishes what is not sealed yet. The key of an encrypted volume is read once more, and the helper tries it: what nobody
 * could open again is not published.
 */
export async function publishTried(
  { volumes, keys }: { readonly volumes: Volumes; readonly keys: Keys },
  volume: PrivateVolume,
  seal: Seal | ReceivingMark,
  reference: KeyReference | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (reference === undefined) await volumes.publish(volume, seal);
  else await withKey(keys, reference, signal, (key) => volumes.publish(volume, seal, key));
}

/**
 * Goes on in a header that an interrupted fill has left, if the key opens it; any other volume gets a new one. Then
 * nothing that was written before can be read any more, so the journal that vouches for it goes first.
 */
async function open(
  { luks, journals }: LuksNeeds,
  volume: PrivateVolume,
  key: VolumeKey,
  { log }: Pick<FillRun, 'log'>,
): Promise<void> {
  if ((await journals?.read(volume.fillId)) !== undefined) {
    try {
      await luks.openLuks(volume, key);
      return;
    } catch (error) {
      const problem = toProblem(error);
      if (problem.code !== 'KEY_WRONG' && problem.code !== 'VOLUME_STATE') throw error;
      log.warn({ problem }, 'the interrupted fill cannot be opened and begins again');
    }
  }
  await journals?.remove(volume.fillId);
  await luks.formatLuks(volume, key);
}

/** It has failed already; whoever discards the volume, or goes on with it, closes it first. */
async function closeOrLeave(
  { luks }: LuksNeeds,
  volume: PrivateVolume,
  { log }: Pick<FillRun, 'log'>,
): Promise<void> {
  try {
    await luks.closeLuks(volume);
  } catch (error) {
    log.warn({ problem: toProblem(error) }, 'the encrypted volume could not be closed; it is closed later');
  }
}

/** Reading a key within a limit, whatever its provider does: a start waits for it. */
import type { KeyReference } from '../../core/key/key-reference.ts';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import type { Keys, VolumeKey } from '../ports/keys.ts';
import type { TimeLimit } from '../time-limit.ts';
import { within } from '../time-limit.ts';

/** KEY_SERVER_UNREACHABLE when the time is over. A key that comes later is wiped. */
export async function readKey(keys: Keys, reference: KeyReference, limit: TimeLimit): Promise<VolumeKey> {
  const reading = keys.read(reference, limit.signal);
  try {
    return await within(limit, reading, {
      code: 'KEY_SERVER_UNREACHABLE',
      message: `The key ${formatKeyReference(reference)} could not be read within ${limit.durationMs / 1000} s.`,
      hint: 'Whoever has the key is slow or does not answer; try again when it does.',
    });
  } catch (error) {
    reading.then(
      (key) => {
        key.wipe();
      },
      () => undefined,
    );
    throw error;
  }
}

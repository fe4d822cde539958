/** A key in memory that is overwritten after use. */
import type { VolumeKey } from '../../provision/ports/keys.ts';

/** Takes these bytes over: they are the key's memory from now on. */
export function volumeKey(bytes: Buffer): VolumeKey {
  return {
    bytes,
    wipe: () => {
      bytes.fill(0);
    },
    // For a log or a message that it gets into by mistake.
    ...{ toJSON: () => '[redacted]', [Symbol.for('nodejs.util.inspect.custom')]: () => '[redacted]' },
  };
}

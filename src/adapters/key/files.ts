/** Keys out of files of this host, which root's helper decrypts: the daemon itself cannot read them. */
import type { KeyReference } from '../../core/key/key-reference.ts';
import { isKeyShaped } from '../../core/key/key-reference.ts';
import type { KeyFiles, Keys, VolumeKey } from '../../provision/ports/keys.ts';
import { keyUnusable } from './errors.ts';

export class FileKeys implements Keys {
  readonly #files: KeyFiles;

  constructor(files: KeyFiles) {
    this.#files = files;
  }

  async read(reference: KeyReference, signal: AbortSignal): Promise<VolumeKey> {
    signal.throwIfAborted();
    const key = await this.#files.readKey(reference.id);
    if (signal.aborted || !isKeyShaped(key.bytes)) {
      key.wipe();
      signal.throwIfAborted();
      throw keyUnusable(reference, 'what is stored is not of that form');
    }
    return key;
  }
}

/** Keys of all providers that this host has. The key server can be changed while it is read. */
import { ProvisionError } from '../../core/errors.ts';
import type { KeyReference } from '../../core/key/key-reference.ts';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import type { BarbicanSettings, KeySettings } from '../../core/settings/key-settings.ts';
import type { KeyFiles, Keys, VolumeKey } from '../../provision/ports/keys.ts';
import { BarbicanKeys } from './barbican.ts';
import { FileKeys } from './files.ts';
import { tryIdentity } from './probe.ts';

export class KeyProviders implements Keys {
  readonly #file: Keys;
  #barbican: Keys | undefined;

  constructor({ barbican }: KeySettings, files: KeyFiles) {
    this.#file = new FileKeys(files);
    this.#barbican = barbican && new BarbicanKeys(barbican);
  }

  async read(reference: KeyReference, signal: AbortSignal): Promise<VolumeKey> {
    switch (reference.provider) {
      case 'file':
        return this.#file.read(reference, signal);
      case 'barbican':
        return this.#readFromServer(reference, signal);
    }
  }

  /**
   * Tries the identity at the servers, and reads with it from now on; else throws why they do not take it, and nothing
   * has changed. Undefined: there is no key server any more.
   */
  async replace(settings: BarbicanSettings | undefined): Promise<void> {
    if (settings !== undefined) await tryIdentity(settings);
    this.#barbican = settings && new BarbicanKeys(settings);
  }

  async #readFromServer(reference: KeyReference, signal: AbortSignal): Promise<VolumeKey> {
    for (;;) {
      const server = this.#barbican;
      if (server === undefined) throw noBarbican(reference);
      try {
        return await server.read(reference, signal);
      } catch (error) {
        // Said of an identity that was revoked as soon as the new one was there, it is no word about the grant.
        if (server === this.#barbican) throw error;
      }
    }
  }
}

function noBarbican(reference: KeyReference): ProvisionError {
  return new ProvisionError({
    code: 'CONFIG_INVALID',
    message: `${formatKeyReference(reference)} cannot be read: this host has no key server in its configuration.`,
    hint: 'Set keys.barbican (docs/encryption.md), check with lvp config check, then: systemctl reload libvirt-volume-provisioner.',
  });
}

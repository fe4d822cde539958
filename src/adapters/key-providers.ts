/** Keys of all providers that this host has. */
import { ProvisionError } from '../core/errors.ts';
import type { KeyReference } from '../core/key-reference.ts';
import { formatKeyReference } from '../core/key-reference.ts';
import type { KeySettings } from '../core/key-settings.ts';
import type { KeyFiles, Keys, VolumeKey } from '../provision/ports.ts';
import { BarbicanKeys } from './key-barbican.ts';
import { FileKeys } from './key-files.ts';

export class KeyProviders implements Keys {
  readonly #file: Keys;
  readonly #barbican: Keys | undefined;

  constructor({ barbican }: KeySettings, files: KeyFiles) {
    this.#file = new FileKeys(files);
    this.#barbican = barbican && new BarbicanKeys(barbican);
  }

  async read(reference: KeyReference, signal: AbortSignal): Promise<VolumeKey> {
    switch (reference.provider) {
      case 'file':
        return this.#file.read(reference, signal);
      case 'barbican':
        if (this.#barbican === undefined) throw noBarbican(reference);
        return this.#barbican.read(reference, signal);
    }
  }
}

function noBarbican(reference: KeyReference): ProvisionError {
  return new ProvisionError({
    code: 'CONFIG_INVALID',
    message: `${formatKeyReference(reference)} cannot be read: this host has no key server in its configuration.`,
    hint: 'Set keys.barbican (docs/encryption.md), check with lvp config check, and restart libvirt-volume-provisioner.',
  });
}

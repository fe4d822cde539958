/** `LuksVolumes` and `KeyFiles` over the root helper's socket. */
import { ProvisionError } from '../core/errors.ts';
import type { HelperRequest, HelperResult } from '../core/protocol/helper-protocol.ts';
import type { Encryption, ReceivingMark, Seal } from '../core/volume/volume.ts';
import type { KeyFiles, VolumeKey } from '../provision/ports/keys.ts';
import type { LuksVolumes, PrivateVolume } from '../provision/ports/volumes.ts';
import type { HelperSocket } from './lvm-socket.ts';
import { plainVolume } from './lvm-socket.ts';

export class LuksHelper implements LuksVolumes, KeyFiles {
  readonly #socket: HelperSocket;

  constructor(socket: HelperSocket) {
    this.#socket = socket;
  }

  formatLuks(volume: PrivateVolume, key: VolumeKey): Promise<HelperResult<'formatLuks'>> {
    const request = { verb: 'formatLuks', volume: encrypted(plainVolume(volume)) } as const;
    return this.#socket.ask('formatLuks', { ...request, keyLengths: [key.bytes.length] }, undefined, [key]);
  }

  openLuks(volume: PrivateVolume, key: VolumeKey): Promise<HelperResult<'openLuks'>> {
    const request = { verb: 'openLuks', volume: encrypted(plainVolume(volume)) } as const;
    return this.#socket.ask('openLuks', { ...request, keyLengths: [key.bytes.length] }, undefined, [key]);
  }

  async closeLuks({ vg, fillId }: Pick<PrivateVolume, 'vg' | 'fillId'>): Promise<void> {
    await this.#ask({ verb: 'closeLuks', vg, fillId }, []);
  }

  checkLuks(vg: string, seal: Seal | ReceivingMark, key: VolumeKey): Promise<HelperResult<'checkLuks'>> {
    const request = { verb: 'checkLuks', vg, seal: encrypted(seal) } as const;
    return this.#socket.ask('checkLuks', { ...request, keyLengths: [key.bytes.length] }, undefined, [key]);
  }

  async addLuksKey(vg: string, seal: Seal, key: VolumeKey, added: VolumeKey): Promise<void> {
    const keyLengths: [number, number] = [key.bytes.length, added.bytes.length];
    await this.#ask({ verb: 'addLuksKey', vg, seal: encrypted(seal), keyLengths }, [key, added]);
  }

  async keepOnlyLuksKey(vg: string, seal: Seal, key: VolumeKey): Promise<void> {
    const keyLengths: [number] = [key.bytes.length];
    await this.#ask({ verb: 'keepOnlyLuksKey', vg, seal: encrypted(seal), keyLengths }, [key]);
  }

  async eraseLuks(vg: string, seal: Seal): Promise<void> {
    await this.#ask({ verb: 'eraseLuks', vg, seal: encrypted(seal) }, []);
  }

  readKey(name: string): Promise<VolumeKey> {
    return this.#socket.askForKey({ verb: 'readKey', name });
  }

  async #ask(request: HelperRequest, keys: readonly VolumeKey[]): Promise<void> {
    await this.#socket.ask(request.verb, request, undefined, keys);
  }
}

/** What is not encrypted is no business of these verbs. */
function encrypted<What extends { readonly encryption?: Encryption | undefined }>(
  what: What,
): What & { readonly encryption: Encryption } {
  const { encryption } = what;
  if (encryption !== undefined) return { ...what, encryption };
  throw new ProvisionError({
    code: 'VOLUME_STATE',
    message: 'The volume was not made to be encrypted.',
  });
}

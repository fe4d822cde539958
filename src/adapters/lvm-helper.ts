/** `Volumes` over the root helper's socket. */
import type { Blankness } from '../core/plan/input.ts';
import type { HelperResult } from '../core/protocol/helper-protocol.ts';
import type {
  GoldenReference,
  GoldenSeal,
  NewGoldenSeal,
  ReceivingMark,
  Seal,
} from '../core/volume/volume.ts';
import type { VolumeKey } from '../provision/ports/keys.ts';
import type { PrivateVolume, Volumes } from '../provision/ports/volumes.ts';
import { LuksHelper } from './lvm-luks.ts';
import { HelperSocket, plainVolume } from './lvm-socket.ts';

export class LvmHelper implements Volumes {
  /** Encrypted volumes, and the keys on this host, over the same queue. */
  readonly luks: LuksHelper;
  readonly #socket: HelperSocket;
  /** A reading that has been asked for and has not begun: whoever asks now may share it. */
  #nextList: Promise<HelperResult<'list'>> | undefined;

  constructor(socketPath?: string, answerTimeMaxMs?: number) {
    this.#socket = new HelperSocket(socketPath, answerTimeMaxMs);
    this.luks = new LuksHelper(this.#socket);
  }

  list(): Promise<HelperResult<'list'>> {
    this.#nextList ??= this.#socket.ask('list', { verb: 'list' }, () => {
      this.#nextList = undefined;
    });
    return this.#nextList;
  }

  examine(vg: string, lv: string): Promise<Blankness> {
    return this.#socket.ask('examine', { verb: 'examine', vg, lv });
  }

  create(volume: PrivateVolume, sizeBytes: number, thinPool?: string): Promise<HelperResult<'create'>> {
    return this.#socket.ask('create', {
      ...{ verb: 'create', volume: plainVolume(volume), sizeBytes },
      ...(thinPool === undefined ? {} : { thinPool }),
    });
  }

  clone(
    volume: PrivateVolume,
    { fillId, sha256, format }: GoldenReference,
    sizeBytes: number,
  ): Promise<HelperResult<'clone'>> {
    const golden = { fillId, sha256, format };
    return this.#socket.ask('clone', { verb: 'clone', volume: plainVolume(volume), golden, sizeBytes });
  }

  adopt(volume: PrivateVolume): Promise<HelperResult<'adopt'>> {
    return this.#socket.ask('adopt', { verb: 'adopt', volume: plainVolume(volume) });
  }

  async publish(
    volume: PrivateVolume,
    seal: Seal | ReceivingMark | NewGoldenSeal,
    key?: VolumeKey,
  ): Promise<void> {
    const request = { verb: 'publish', volume: plainVolume(volume), seal } as const;
    if (key === undefined) await this.#socket.ask('publish', request);
    else await this.#socket.ask('publish', { ...request, keyLengths: [key.bytes.length] }, undefined, [key]);
  }

  async claim(vg: string, seal: Seal, domainUuid: string): Promise<void> {
    await this.#socket.ask('claim', { verb: 'claim', vg, seal, domainUuid });
  }

  async retire(vg: string, seal: Seal): Promise<void> {
    await this.#socket.ask('retire', { verb: 'retire', vg, seal });
  }

  async restore(vg: string, seal: Seal): Promise<void> {
    await this.#socket.ask('restore', { verb: 'restore', vg, seal });
  }

  async arrive(vg: string, seal: Seal): Promise<void> {
    await this.#socket.ask('arrive', { verb: 'arrive', vg, seal });
  }

  async recall(vg: string, fillId: string): Promise<void> {
    await this.#socket.ask('recall', { verb: 'recall', vg, fillId });
  }

  async discard(volume: Pick<PrivateVolume, 'vg' | 'fillId'>): Promise<void> {
    await this.#socket.ask('discard', { verb: 'discard', vg: volume.vg, fillId: volume.fillId });
  }

  async drop(vg: string, seal: Seal | GoldenSeal): Promise<void> {
    await this.#socket.ask('drop', { verb: 'drop', vg, seal });
  }
}

/** A key server, the headers of volumes, and libvirt's secrets, in memory; what each of them does is told to it. */
import type { ErrorCode } from '../../src/core/errors.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import type { KeyReference } from '../../src/core/key/key-reference.ts';
import { formatKeyReference } from '../../src/core/key/key-reference.ts';
import type { ReceivingMark, Seal } from '../../src/core/volume/volume.ts';
import type { OurSecret } from '../../src/core/xml/secret-xml.ts';
import type { Keys, VolumeKey } from '../../src/provision/ports/keys.ts';
import type { GuestSecrets } from '../../src/provision/ports/libvirt.ts';
import type { LuksVolumes } from '../../src/provision/ports/volumes.ts';

export function volumeKeyOf(text: string): VolumeKey {
  const bytes = Buffer.from(text);
  return {
    bytes,
    wipe: () => {
      bytes.fill(0);
    },
  };
}

/** `hangs`: does not answer, whatever the signal says, before `letGo`. */
type Grant = 'granted' | 'hangs' | Extract<ErrorCode, `KEY_${string}`>;

export class FakeKeys implements Keys {
  readonly texts = new Map<string, string>();
  readonly grants = new Map<string, Grant>();
  /** Every key that was ever given to anybody. */
  readonly given: VolumeKey[] = [];
  readonly asked: string[] = [];
  #held: (() => void)[] = [];

  async read(reference: KeyReference): Promise<VolumeKey> {
    const name = formatKeyReference(reference);
    const grant = this.grants.get(name) ?? 'granted';
    this.asked.push(name);
    if (grant === 'hangs') await new Promise<void>((resolve) => this.#held.push(resolve));
    else if (grant !== 'granted') {
      throw new ProvisionError({ code: grant, message: `${name}: ${grant}`, hint: 'Have it granted.' });
    }
    const key = volumeKeyOf(this.texts.get(name) ?? '');
    this.given.push(key);
    return key;
  }

  letGo(): void {
    for (const resolve of this.#held.splice(0)) resolve();
  }

  areAllWiped(): boolean {
    return this.given.every(({ bytes }) => bytes.every((byte) => byte === 0));
  }
}

/** What is opened by which key, by the name of the volume. */
export class FakeLuks implements Pick<LuksVolumes, 'checkLuks'> {
  readonly texts = new Map<string, string>();
  isAway = false;
  /** What is asked is not answered before. */
  held: Promise<unknown> | undefined;
  /** For volumes of which it was not told. */
  readonly #others: Pick<LuksVolumes, 'checkLuks'>;

  constructor(others: Pick<LuksVolumes, 'checkLuks'>) {
    this.#others = others;
  }

  async checkLuks(
    vg: string,
    seal: Seal | ReceivingMark,
    key: VolumeKey,
  ): Promise<{ readonly keys: number }> {
    const { target } = seal;
    await this.held;
    const text = this.texts.get(target);
    if (this.isAway) return failed('HELPER_UNAVAILABLE', target);
    if (text === undefined) return this.#others.checkLuks(vg, seal, key);
    const isRight = key.bytes.equals(Buffer.from(text));
    return isRight ? { keys: 1 } : failed('KEY_WRONG', target);
  }
}

export class MemorySecrets implements GuestSecrets {
  readonly values = new Map<string, Buffer>();
  /** Paths for which somebody else has made a secret. */
  readonly others = new Set<string>();
  /** Paths of those that somebody has defined anew. */
  readonly #changed = new Set<string>();
  isAway = false;
  /** How often one was to be set. */
  sets = 0;
  #held: PromiseWithResolvers<void> | undefined;

  /** From now on nothing is answered before letGo(). */
  hold(): void {
    this.#held = Promise.withResolvers();
  }

  letGo(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }

  /** Somebody else defines it, or defines it anew. */
  change(path: string): void {
    this.values.set(path, this.values.get(path) ?? Buffer.alloc(0));
    this.#changed.add(path);
  }

  isChanged(path: string): boolean {
    return this.#changed.has(path);
  }

  async set(path: string, key: VolumeKey): Promise<void> {
    this.sets += 1;
    await this.#answer();
    if (this.others.has(path)) await failed('VOLUME_STATE', path);
    this.values.set(path, Buffer.from(key.bytes));
    this.#changed.delete(path);
  }

  async unset(path: string): Promise<boolean> {
    await this.#answer();
    this.#changed.delete(path);
    return this.values.delete(path);
  }

  async list(): Promise<readonly OurSecret[]> {
    await this.#answer();
    return [...this.values.keys()].map((path) => ({ path, isIntact: !this.#changed.has(path) }));
  }

  async #answer(): Promise<void> {
    await this.#held?.promise;
    if (this.isAway) await failed('LIBVIRT_UNAVAILABLE', 'libvirt');
  }
}

function failed(code: ErrorCode, name: string): Promise<never> {
  return Promise.reject(new ProvisionError({ code, message: `${code} for ${name}` }));
}

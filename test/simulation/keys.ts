/**
 * Where keys come from: a server that withdraws grants, gives another key than before, or says nothing, and that
 * remembers when it gave what to whom. No key is like another one, and each is text that a real one could be.
 */
import type { ErrorCode } from '../../src/core/errors.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import { formatKeyReference } from '../../src/core/key/key-reference.ts';
import type { Keys, VolumeKey } from '../../src/provision/ports/keys.ts';
import type { Faults } from './faults.ts';
import type { Life } from './life.ts';

/** As long as a provider waits for a server that says nothing. */
const SILENCE_MAX_MS = 8_000;
const KEY_LENGTH = 44;

type Refusal = Extract<ErrorCode, 'KEY_DENIED' | 'KEY_NOT_FOUND'>;

interface ServedKey {
  /** Those that were ever given under this name; the last one is given now. */
  readonly texts: string[];
  refusal: Refusal | undefined;
  /** Until when it was last granted; of one that is granted now that is always now. */
  grantedUntilMs: number;
}

export class KeyServer {
  readonly #faults: Faults;
  readonly #nowMs: () => number;
  readonly #keys = new Map<string, ServedKey>();
  /** When each text was last given to the daemon. */
  readonly #givenAtMs = new Map<string, number>();
  /** Keys in the daemon's memory that it has not wiped. */
  readonly held = new Set<VolumeKey>();
  isSilent = false;
  #madeCount = 0;

  constructor(faults: Faults, nowMs: () => number) {
    this.#faults = faults;
    this.#nowMs = nowMs;
  }

  /** As `lvp key create` does, which also grants it. */
  create(name: string): void {
    this.#of(name);
  }

  refuse(name: string, refusal: Refusal): void {
    const key = this.#of(name);
    if (key.refusal === undefined) key.grantedUntilMs = this.#nowMs();
    key.refusal = refusal;
  }

  grant(name: string): void {
    this.#of(name).refusal = undefined;
  }

  /** From now on something else is given under this name. */
  replace(name: string): void {
    const { texts } = this.#of(name);
    texts.push(this.#newText(name));
  }

  /** What was given first is given again. */
  restore(name: string): void {
    const { texts } = this.#of(name);
    const [first] = texts;
    if (first !== undefined && texts.length > 1) texts.push(first);
  }

  /** The faults are over. */
  settle(): void {
    this.isSilent = false;
    for (const name of this.#keys.keys()) {
      this.grant(name);
      this.restore(name);
    }
  }

  /** What is given under this name now. */
  textOf(name: string): string {
    return this.#of(name).texts.at(-1) ?? '';
  }

  /** All that was ever given under this name. */
  textsOf(name: string): readonly string[] {
    return this.#of(name).texts;
  }

  /** Whether this host was allowed to read it at any time since then. */
  wasGrantedSince(name: string, sinceMs: number): boolean {
    const { refusal, grantedUntilMs } = this.#of(name);
    return refusal === undefined || grantedUntilMs >= sinceMs;
  }

  /** When this was last given to the daemon, under whichever name. */
  givenAtMs(text: string): number {
    return this.#givenAtMs.get(text) ?? -Infinity;
  }

  /** The port of one life of the daemon. */
  port(daemon: Life): Keys {
    daemon.atEnd(() => {
      this.held.clear();
    });
    return {
      read: async (reference, signal) => {
        const name = formatKeyReference(reference);
        await daemon.step('key read');
        if (this.isSilent) await daemon.clock().sleep(SILENCE_MAX_MS, signal);
        if (this.isSilent || this.#faults.strikes('keyServerFails'))
          throw failure('KEY_SERVER_UNREACHABLE', name);
        const { refusal } = this.#of(name);
        if (refusal !== undefined) throw failure(refusal, name);
        const text = this.textOf(name);
        this.#givenAtMs.set(text, this.#nowMs());
        await daemon.step('key read answered');
        return this.#hold(text, daemon);
      },
    };
  }

  #hold(text: string, { isAlive }: Life): VolumeKey {
    const bytes = Buffer.from(text, 'latin1');
    const key: VolumeKey = {
      bytes,
      wipe: () => {
        bytes.fill(0);
        this.held.delete(key);
      },
    };
    // One that has died within the same step holds nothing any more.
    if (isAlive) this.held.add(key);
    return key;
  }

  #of(name: string): ServedKey {
    const key = this.#keys.get(name) ?? {
      texts: [this.#newText(name)],
      ...{ refusal: undefined, grantedUntilMs: -Infinity },
    };
    this.#keys.set(name, key);
    return key;
  }

  #newText(name: string): string {
    this.#madeCount += 1;
    return `${this.#madeCount}-${name}-`.padEnd(KEY_LENGTH, 'k');
  }
}

function failure(code: ErrorCode, name: string): ProvisionError {
  return new ProvisionError({ code, message: `${name}: ${code}` });
}

/** What libvirtd has in its memory to open the disks of guests with: gone when that is started anew. */
import type { GuestSecrets } from '../../src/provision/ports/libvirt.ts';

/** A call that libvirt answers, or does not. */
type Call = <T>(name: string, effect: () => T) => Promise<T>;

export class Secrets {
  /** By path of the volume. */
  readonly #values = new Map<string, string>();

  forget(): void {
    this.#values.clear();
  }

  valueOf(path: string): string | undefined {
    return this.#values.get(path);
  }

  get paths(): readonly string[] {
    return [...this.#values.keys()];
  }

  /** The port that one life of the daemon has. */
  port(call: Call): GuestSecrets {
    return {
      set: (path, key) =>
        call('set secret', () => {
          this.#values.set(path, key.bytes.toString('latin1'));
        }),
      unset: (path) => call('unset secret', () => this.#values.delete(path)),
      list: () => call('list secrets', () => this.paths.map((path) => ({ path, isIntact: true }))),
    };
  }
}

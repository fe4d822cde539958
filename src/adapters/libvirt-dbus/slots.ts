/**
 * A limit on calls in flight. libvirt-dbus works with 4 threads (its option -t), and a call for a domain
 * that a waiting qemu hook holds keeps its thread until the hook ends, also after we have given up on the
 * answer. So domain calls get 2 threads, pool calls 1, and one is left for the heartbeat and for secrets, which
 * answer at once whatever a hook holds.
 */
import { ProvisionError } from '../../core/errors.ts';

const WAITING_MAX = 1_000;
const WAIT_DEADLINE_MS = 130_000;

export class Slots {
  readonly #what: string;
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(what: string, count: number) {
    this.#what = what;
    this.#free = count;
  }

  /** Waits for a free slot; the caller gives it back by calling the result, exactly once. */
  async take(): Promise<() => void> {
    if (this.#free > 0) {
      this.#free -= 1;
    } else {
      await this.#wait();
    }
    return () => {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    };
  }

  async #wait(): Promise<void> {
    if (this.#waiting.length >= WAITING_MAX) throw this.#problem(`${WAITING_MAX} calls wait already`);
    const turn = Promise.withResolvers<undefined>();
    const resolve = () => {
      turn.resolve(undefined);
    };
    this.#waiting.push(resolve);
    const timer = setTimeout(() => {
      this.#waiting.splice(this.#waiting.indexOf(resolve), 1);
      turn.reject(this.#problem(`no earlier call ended within ${WAIT_DEADLINE_MS / 1000} s`));
    }, WAIT_DEADLINE_MS);
    try {
      await turn.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  #problem(why: string): ProvisionError {
    return new ProvisionError({
      code: 'LIBVIRT_UNAVAILABLE',
      message: `Calls to libvirt for ${this.#what} pile up: ${why}.`,
      hint: 'A qemu hook that does not end holds its domain; look for it with: pgrep -af /etc/libvirt/hooks',
    });
  }
}

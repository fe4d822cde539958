/**
 * The life of the connection to libvirt: system bus, libvirt-dbus, libvirtd. Each of the three may be
 * restarted at any time, and none says that signals were lost; so a heartbeat makes a real call every few
 * seconds and compares who answered with who answered last (`owner` of org.libvirt, `generation` of the
 * daemons). Whenever that differs, `connected` asks for everything to be listed again.
 */
import type { ProvisionError } from '../../core/errors.ts';
import { toProblem } from '../../core/errors.ts';
import type { Log } from '../../provision/ports/host.ts';
import type { LibvirtEvent } from '../../provision/ports/libvirt.ts';
import type { BusCall, BusSignal } from './bus.ts';
import { Bus } from './bus.ts';
import { daemonGeneration } from './generation.ts';
import { busProblem } from './problems.ts';
import type { LibvirtCall } from './rights.ts';
import { CONNECT_PATH, eventOf, LIBVIRT_NAME, MATCH_RULES, ownerChange } from './signals.ts';
import { Slots } from './slots.ts';

const HEARTBEAT_MS = 5_000;
const HEARTBEAT_DEADLINE_MS = 5_000;
/** Pauses after 1, 2, 3, … failures in a row; the last one is kept for ever. */
const BACKOFF_MS = [200, 500, 1_000, 2_000, 3_000];

export interface LibvirtConnectionOptions {
  readonly onEvent: (event: LibvirtEvent) => void;
  readonly log: Log;
}

export class LibvirtConnection {
  readonly #options: LibvirtConnectionOptions;
  readonly #domainSlots = new Slots('domains', 2);
  readonly #poolSlots = new Slots('storage pools', 1);
  /** Shares a thread of libvirt-dbus with the heartbeat: neither waits for a domain or for LVM. */
  readonly #secretSlots = new Slots('secrets', 1);
  readonly #closed = new AbortController();
  #running: Promise<void> | undefined;
  #bus: Bus | undefined;
  #owner = '';
  /** Owner and generation that `connected` was last emitted for; undefined while disconnected. */
  #announced: string | undefined;
  #lastProblem: ProvisionError | undefined;
  #wake: () => void = () => undefined;

  constructor(options: LibvirtConnectionOptions) {
    this.#options = options;
  }

  /** Connects in the background and stays connected; every outcome is an event. */
  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#bus?.close();
    this.#wake();
    await this.#running;
  }

  callDomain(call: LibvirtCall): Promise<readonly unknown[]> {
    return this.#limited(this.#domainSlots, call);
  }

  callPool(call: LibvirtCall): Promise<readonly unknown[]> {
    return this.#limited(this.#poolSlots, call);
  }

  callSecret(call: LibvirtCall): Promise<readonly unknown[]> {
    return this.#limited(this.#secretSlots, call);
  }

  async #limited(slots: Slots, call: LibvirtCall): Promise<readonly unknown[]> {
    const release = await slots.take();
    const bus = this.#bus;
    if (bus === undefined) {
      release();
      throw this.#lastProblem ?? busProblem(new Error('not connected yet'));
    }
    const { answer, settled } = bus.call({ destination: LIBVIRT_NAME, ...call });
    // Not when we stop waiting: the thread of libvirt-dbus is taken until it has answered.
    void settled.then(release);
    return answer;
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#isClosed()) {
      let bus: Bus | undefined;
      try {
        bus = await Bus.open((signal) => {
          this.#receive(signal);
        });
        await this.#subscribe(bus);
        this.#bus = bus;
        failures = 0;
        await this.#watch(bus);
      } catch (error) {
        this.#disconnected(busProblem(error));
      }
      this.#bus = undefined;
      bus?.close();
      // The pause that the end of the bus cut short holds a timer still.
      this.#wake();
      failures += 1;
      await this.#pause(backoff(failures));
    }
  }

  /** Asks for signals first and for the owner second, so that no change of owner falls between. */
  async #subscribe(bus: Bus): Promise<void> {
    for (const rule of MATCH_RULES) {
      await bus.call({ ...BUS_OBJECT, member: 'AddMatch', signature: 's', body: [rule] }).answer;
    }
    const [names] = await bus.call({ ...BUS_OBJECT, member: 'ListNames' }).answer;
    // GetNameOwner of a name without owner is an error; that nobody owns it yet is none.
    const isOwned = Array.isArray(names) && names.includes(LIBVIRT_NAME);
    const [owner] = isOwned
      ? await bus.call({ ...BUS_OBJECT, member: 'GetNameOwner', signature: 's', body: [LIBVIRT_NAME] }).answer
      : [''];
    this.#owner = typeof owner === 'string' ? owner : '';
  }

  /** Heartbeats until the bus ends, which it reports by throwing. */
  async #watch(bus: Bus): Promise<never> {
    let failures = 0;
    for (;;) {
      // Read before the call: a restart in between is then seen at the next beat at the latest.
      const generation = await daemonGeneration();
      try {
        await bus.call({ ...HEARTBEAT, deadlineMs: HEARTBEAT_DEADLINE_MS }).answer;
        failures = 0;
        this.#connected(`${this.#owner} ${generation}`);
      } catch (error) {
        failures += 1;
        // The first call after libvirtd has died may only find that out, and the next one succeeds.
        if (failures > 1) this.#disconnected(busProblem(error));
        this.#announced = undefined;
      }
      await Promise.race([bus.ended, this.#pause(failures === 0 ? HEARTBEAT_MS : backoff(failures))]);
    }
  }

  #connected(who: string): void {
    if (this.#announced === who) return;
    this.#announced = who;
    this.#lastProblem = undefined;
    this.#emit({ kind: 'connected' });
  }

  /** Says so once for each new reason, not at every try. */
  #disconnected(problem: ProvisionError): void {
    this.#announced = undefined;
    if (this.#isClosed() || this.#lastProblem?.message === problem.message) return;
    this.#lastProblem = problem;
    this.#emit({ kind: 'disconnected', problem: toProblem(problem) });
  }

  #receive(signal: BusSignal): void {
    const owner = ownerChange(signal);
    if (owner !== undefined) {
      this.#owner = owner;
      this.#wake();
      return;
    }
    const event = signal.sender === this.#owner ? eventOf(signal) : undefined;
    if (event !== undefined) this.#emit(event);
  }

  /** A listener that throws must not break the connection, nor be answered for by the bus library. */
  #emit(event: LibvirtEvent): void {
    try {
      this.#options.onEvent(event);
    } catch (error) {
      this.#options.log.error({ err: error, event }, 'the listener for libvirt events failed');
    }
  }

  /** Ends early when org.libvirt changes hands, and when the connection is closed. */
  async #pause(durationMs: number): Promise<void> {
    if (this.#isClosed()) return;
    const pause = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => {
      pause.resolve(undefined);
    }, durationMs);
    this.#wake = () => {
      pause.resolve(undefined);
    };
    await pause.promise;
    clearTimeout(timer);
  }

  #isClosed(): boolean {
    return this.#closed.signal.aborted;
  }
}

const BUS_OBJECT = {
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
} as const;

/**
 * Starts libvirt-dbus by D-Bus activation, makes it open or reopen its connection to libvirtd (without
 * any call it has none and sends no signals), and asks libvirtd itself. It takes no domain's lock, so it
 * answers while a qemu hook holds one; ListDomains would not.
 */
const HEARTBEAT: BusCall & LibvirtCall = {
  destination: LIBVIRT_NAME,
  path: CONNECT_PATH,
  interface: 'org.freedesktop.DBus.Properties',
  member: 'Get',
  signature: 'ss',
  body: ['org.libvirt.Connect', 'LibVersion'],
};

function backoff(failures: number): number {
  return BACKOFF_MS[Math.min(failures, BACKOFF_MS.length) - 1] ?? HEARTBEAT_MS;
}

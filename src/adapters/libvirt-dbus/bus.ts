/**
 * One connection to the system bus: raw method calls with a deadline, signals, and the news of its end.
 * No proxy objects: they introspect every object first, which doubles the calls.
 */
import type { EventEmitter } from 'node:events';
import type { Message as BusMessage, MessageBus } from '@jellybrick/dbus-next';
import { Message, MessageType, systemBus } from '@jellybrick/dbus-next';
import { busProblem, callProblem, deadlineProblem } from './problems.ts';
import type { MessageStream } from './secret-message.ts';
import { sendSecret } from './secret-message.ts';

const CONNECT_DEADLINE_MS = 5_000;
const CALL_DEADLINE_MS = 10_000;

export interface BusCall {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string | undefined;
  readonly body?: readonly unknown[] | undefined;
  /** An `ay` in front of the rest of the body, of which this process keeps no copy. */
  readonly secret?: Buffer | undefined;
  readonly deadlineMs?: number | undefined;
}

export interface BusSignal {
  readonly sender: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly body: readonly unknown[];
}

/** What the library keeps to itself, and is the only way to hear that the stream has ended. */
interface BusInternals {
  readonly _connection?: EventEmitter & {
    readonly state?: string;
    readonly stream?: MessageStream & { destroy(): void };
  };
}

export class Bus {
  readonly #bus: MessageBus;
  readonly #ended = Promise.withResolvers<never>();
  /**
   * The calls under way, to be failed at the end of the connection. Racing each against `#ended` would leave
   * something behind on that promise with every call, for as long as the connection lives.
   */
  readonly #underWay = new Set<(problem: Error) => void>();
  #problem: Error | undefined;

  private constructor(bus: MessageBus, onSignal: (signal: BusSignal) => void) {
    this.#bus = bus;
    // Whoever waits for the end hears of it; that nobody waits at the moment is no unhandled rejection.
    this.#ended.promise.catch(() => undefined);
    // The library's types leave this event out; without a listener it would end the process.
    (bus as unknown as EventEmitter).on('error', (error: unknown) => {
      this.#end(error);
    });
    (bus as unknown as BusInternals)._connection?.on('end', () => {
      this.#end(new Error('the bus closed the connection'));
    });
    bus.on('message', (message: BusMessage) => {
      if (message.type === (MessageType.SIGNAL as number)) onSignal(message);
    });
  }

  /** Connects and says hello; rejects with LIBVIRT_UNAVAILABLE. */
  static async open(onSignal: (signal: BusSignal) => void): Promise<Bus> {
    const library = systemBus();
    const bus = new Bus(library, onSignal);
    try {
      await bus.#within(
        bus.#untilEnd(new Promise<void>((resolve) => library.once('connect', resolve))),
        CONNECT_DEADLINE_MS,
        'the greeting of the system bus',
      );
      return bus;
    } catch (error) {
      bus.close();
      throw error;
    }
  }

  /** Rejects once, when the connection has ended for whatever reason. */
  get ended(): Promise<never> {
    return this.#ended.promise;
  }

  /**
   * Calls a method. Two promises, because they end at different times: `answer` at the deadline at the
   * latest, `settled` only when the other side has really finished (or is gone) and its thread is free.
   */
  call(call: BusCall): { readonly answer: Promise<readonly unknown[]>; readonly settled: Promise<void> } {
    const name = `${call.interface}.${call.member}`;
    const reply = this.#problem === undefined ? this.#send(call) : Promise.reject(this.#problem);
    const outcome = this.#untilEnd(reply);
    return {
      answer: this.#within(outcome, call.deadlineMs ?? CALL_DEADLINE_MS, name).catch((error: unknown) => {
        throw callProblem(name, error);
      }),
      settled: outcome.then(
        () => undefined,
        () => undefined,
      ),
    };
  }

  close(): void {
    this.#end(new Error('the connection was closed'));
    this.#bus.disconnect();
    // A bus that hangs would keep a half-closed stream open, and this process alive, for ever.
    (this.#bus as unknown as BusInternals)._connection?.stream?.destroy();
  }

  async #send(call: BusCall): Promise<readonly unknown[]> {
    const { destination, path, interface: interfaceName, member, signature = '', body = [], secret } = call;
    const send = (values: readonly unknown[]) =>
      this.#bus.call(
        new Message({
          ...{ destination, path, interface: interfaceName, member, signature },
          body: [...values],
        }),
      );
    const reply =
      secret === undefined ? send(body) : this.#sendSecret(secret, (value) => send([value, ...body]));
    return (await reply)?.body ?? [];
  }

  /** Only while the library writes at once what it is given, and does not put it by. */
  #sendSecret<T>(secret: Buffer, send: (value: Buffer) => T): T {
    const { state, stream } = (this.#bus as unknown as BusInternals)._connection ?? {};
    if (state !== 'connected' || stream === undefined) throw busProblem(new Error('not connected'));
    return sendSecret(stream, secret, send);
  }

  #end(error: unknown): void {
    if (this.#problem !== undefined) return;
    this.#problem = busProblem(error);
    this.#ended.reject(this.#problem);
    for (const fail of this.#underWay) fail(this.#problem);
    this.#underWay.clear();
  }

  #untilEnd<T>(work: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#problem !== undefined) reject(this.#problem);
      this.#underWay.add(reject);
      work.then(resolve, reject).finally(() => this.#underWay.delete(reject));
    });
  }

  /** `work` ends with the connection, see #untilEnd. */
  async #within<T>(work: Promise<T>, deadlineMs: number, what: string): Promise<T> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      late.reject(deadlineProblem(what, deadlineMs));
    }, deadlineMs);
    try {
      return await Promise.race([work, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }
}

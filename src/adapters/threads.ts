/**
 * Worker threads that hash and decompress beside the program's own thread, and the memory they share with
 * it. There are as many as processors, at most THREADS_MAX; they start when there is work and end when all
 * workshops have been closed for a while. A hash stays with one thread, clusters go to the idlest.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { ProvisionError } from '../core/errors.ts';
import { alignedMemory } from '../core/images/aligned-memory.ts';
import { damaged } from '../core/images/compressed-cluster.ts';
import type { CompressedExtent } from '../core/images/layout.ts';
import type { HashFrom } from '../core/images/resumable-sha256.ts';
import type { Workshop, Workshops } from '../provision/ports/workshop.ts';
import type { Reply, Task, Work } from './threads/messages.ts';

const THREADS_MAX = 4;
const IDLE_END_MS = 30_000;
/** Memory of workshops that were closed, for the next ones: what JavaScript gives back of it comes late. */
const SPARE_MAX = 2;
const NO_WORKSHOP = -1;
/** A disk that writes the zeros itself needs its time, and keeps a thread from hashing meanwhile. */
const ZERO_PIECE_BYTES = 64 * 1024 * 1024;
/** A thread's own garbage: it works on the workshops' memory. */
const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 };

export class WorkerThreads implements Workshops {
  readonly #threads: (Thread | undefined)[];
  #open = 0;
  #workshops = 0;
  #ending: NodeJS.Timeout | undefined;
  #spare: { readonly memoryBytes: number; readonly memory: SharedArrayBuffer }[] = [];

  constructor(threads = Math.min(availableParallelism(), THREADS_MAX)) {
    this.#threads = new Array<Thread | undefined>(threads).fill(undefined);
  }

  open(memoryBytes: number, hashFrom?: HashFrom): Workshop {
    clearTimeout(this.#ending);
    this.#open++;
    const at = this.#spare.findIndex((spare) => spare.memoryBytes === memoryBytes);
    const [spare] = at < 0 ? [] : this.#spare.splice(at, 1);
    const memory = spare?.memory ?? alignedMemory(memoryBytes);
    return new SharedWorkshop(this.#workshops++, memory, hashFrom, {
      hashThread: (workshop) => this.#thread(workshop % this.#threads.length),
      idlest: () => this.#idlest(),
      closed: (isUnused) => {
        this.#open--;
        if (isUnused && this.#spare.length < SPARE_MAX) this.#spare.push({ memoryBytes, memory });
        if (this.#open > 0) return;
        this.#ending = setTimeout(() => void this.end(), IDLE_END_MS).unref();
      },
    });
  }

  /**
   * Makes a range of an open device or file read as zeros; false where the kernel has no way to, and the range
   * may then hold anything. The file must stay open until then.
   */
  async zero(fd: number, offsetBytes: number, lengthBytes: number): Promise<boolean> {
    for (let at = 0; at < lengthBytes; at += ZERO_PIECE_BYTES) {
      const pieceBytes = Math.min(ZERO_PIECE_BYTES, lengthBytes - at);
      const task = { kind: 'zero', fd, offsetBytes: offsetBytes + at, lengthBytes: pieceBytes } as const;
      const { zeroed } = await this.#idlest().ask(NO_WORKSHOP, task);
      if (zeroed !== true) return false;
    }
    return true;
  }

  /** Ends the threads; the next workshop starts new ones. */
  async end(): Promise<void> {
    this.#spare = [];
    const threads = this.#threads.splice(0);
    this.#threads.push(...threads.map(() => undefined));
    await Promise.all(threads.map(async (thread) => thread?.end()));
  }

  #thread(index: number): Thread {
    const thread = this.#threads[index];
    if (thread?.isAlive === true) return thread;
    return (this.#threads[index] = new Thread());
  }

  #idlest(): Thread {
    let best = 0;
    for (const [index, thread] of this.#threads.entries()) {
      if ((thread?.waiting ?? 0) < (this.#threads[best]?.waiting ?? 0)) best = index;
    }
    return this.#thread(best);
  }
}

/** One worker, and the questions it has not answered yet. */
class Thread {
  readonly #worker: Worker;
  readonly #questions = new Map<number, PromiseWithResolvers<Reply>>();
  readonly #known = new Set<number>();
  #ids = 0;
  #failure: Error | undefined;

  constructor() {
    this.#worker = new Worker(new URL('./threads/worker.ts', import.meta.url), {
      resourceLimits: RESOURCE_LIMITS,
    });
    this.#worker.unref();
    this.#worker.on('message', (reply: Reply) => {
      const question = this.#questions.get(reply.id);
      this.#questions.delete(reply.id);
      if (reply.error === undefined) question?.resolve(reply);
      else question?.reject(threadFailed(new Error(reply.error)));
      if (this.#questions.size === 0) this.#worker.unref();
    });
    this.#worker.on('error', (error: Error) => {
      this.#fail(error);
    });
    this.#worker.on('exit', (exitCode) => {
      this.#fail(new Error(`the thread ended with ${exitCode}`));
    });
  }

  get isAlive(): boolean {
    return this.#failure === undefined;
  }

  get waiting(): number {
    return this.#questions.size;
  }

  knows(workshop: number): boolean {
    return this.#known.has(workshop);
  }

  async ask(workshop: number, task: Task): Promise<Reply> {
    if (this.#failure !== undefined) throw threadFailed(this.#failure);
    if (task.kind === 'open') this.#known.add(workshop);
    if (task.kind === 'close') this.#known.delete(workshop);
    const question = Promise.withResolvers<Reply>();
    const work: Work = { ...task, id: this.#ids++, workshop };
    this.#questions.set(work.id, question);
    this.#worker.ref();
    this.#worker.postMessage(work);
    return question.promise;
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const question of this.#questions.values()) question.reject(threadFailed(error));
    this.#questions.clear();
  }
}

interface Owner {
  hashThread(workshop: number): Thread;
  idlest(): Thread;
  /** `isUnused`: no thread can touch its memory any more. */
  closed(isUnused: boolean): void;
}

class SharedWorkshop implements Workshop {
  readonly memory: SharedArrayBuffer;
  readonly hasher;
  readonly #id: number;
  readonly #owner: Owner;
  readonly #hashThread: Thread;
  readonly #threads = new Set<Thread>();
  #isClosed = false;

  constructor(id: number, memory: SharedArrayBuffer, hashFrom: HashFrom | undefined, owner: Owner) {
    this.#id = id;
    this.memory = memory;
    this.#owner = owner;
    this.#hashThread = owner.hashThread(id);
    this.#introduce(this.#hashThread, hashFrom);
    this.hasher = {
      update: async (bytes: Uint8Array) => {
        const offsetBytes = this.#offsetOf(bytes);
        if (offsetBytes < 0) throw new TypeError('only bytes of the memory can be hashed');
        await this.#hashThread.ask(id, { kind: 'hash', offsetBytes, lengthBytes: bytes.length });
      },
      state: async () => (await this.#hashThread.ask(id, { kind: 'state' })).state,
      digest: async () => (await this.#hashThread.ask(id, { kind: 'digest' })).digest ?? '',
      close: () => Promise.resolve(),
    };
  }

  async decompress(clusters: readonly CompressedExtent[], target: Uint8Array): Promise<void> {
    const [first] = clusters;
    if (first === undefined) return;
    const inputs: number[] = [];
    const strays: Uint8Array[] = [];
    for (const { bytes } of clusters) {
      const offsetBytes = this.#offsetOf(bytes);
      if (offsetBytes < 0) strays.push(Uint8Array.from(bytes));
      inputs.push(offsetBytes, bytes.length);
    }
    const thread = this.#owner.idlest();
    this.#introduce(thread, undefined);
    const { compression, clusterBytes } = first;
    const reply = await thread.ask(this.#id, {
      ...{ kind: 'decompress', compression, clusterBytes, inputs, strays },
      targetBytes: this.#offsetOf(target),
    });
    if (reply.damaged === undefined) return;
    throw damaged(clusters[reply.damaged.index] ?? first, reply.damaged.found);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // A thread works in order: when it has answered this, it has done all before.
    const closing = [...this.#threads].map((thread) => thread.ask(this.#id, { kind: 'close' }));
    const ended = await Promise.allSettled(closing);
    this.#owner.closed(ended.every(({ status }) => status === 'fulfilled'));
  }

  /** A thread that never heard of this workshop gets its memory first. */
  #introduce(thread: Thread, hashFrom: HashFrom | undefined): void {
    if (thread.knows(this.#id)) return;
    this.#threads.add(thread);
    // Failures show in the work that follows.
    thread.ask(this.#id, { kind: 'open', memory: this.memory, hashFrom }).catch(() => undefined);
  }

  #offsetOf(bytes: Uint8Array): number {
    return bytes.buffer === this.memory ? bytes.byteOffset : -1;
  }
}

function threadFailed(cause: Error): ProvisionError {
  return new ProvisionError({
    code: 'INTERNAL',
    message: `A thread that hashes and decompresses failed: ${cause.message}.`,
    hint: 'This is a defect of the provisioner, or the host is out of memory; the fill can be tried again.',
    cause,
  });
}

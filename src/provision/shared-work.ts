/**
 * Work that one does for all who want the same thing at the same time. Whoever comes first does it, the others wait and
 * see how far it is. If the one who does it gives up, the next does it from the beginning; if it fails, all have failed:
 * each of them would meet the same.
 */
export interface Member {
  readonly signal: AbortSignal;
  /** It is in no hurry: while nobody else waits the work may rest. */
  readonly isPatient?: boolean | undefined;
  phase(phase: 'filling' | 'verifying', bytesTotal?: number): void;
  progress(bytesDone: number): void;
}

/** What the one who works says, to itself and to all who wait; and whether any of these is in a hurry. */
export interface Announce extends Pick<Member, 'phase' | 'progress'> {
  readonly isHurried: () => boolean;
}

type End<Result> = { readonly result: Result } | { readonly error: unknown } | 'given up';

export class SharedWork<Result> {
  readonly #crowds = new Map<string, Crowd<Result>>();

  /** Does the work, or has it done by whoever is at it; rejects as soon as the member gives up. */
  async run(key: string, member: Member, work: (announce: Announce) => Promise<Result>): Promise<Result> {
    for (;;) {
      member.signal.throwIfAborted();
      const crowd = this.#crowds.get(key);
      if (crowd === undefined) return this.#lead(key, member, work);
      const end = await crowd.follow(member);
      if (end === 'given up') continue;
      if ('error' in end) throw end.error;
      return end.result;
    }
  }

  async #lead(key: string, leader: Member, work: (announce: Announce) => Promise<Result>): Promise<Result> {
    const crowd = new Crowd<Result>(leader);
    this.#crowds.set(key, crowd);
    try {
      const result = await work(crowd);
      crowd.end({ result });
      return result;
    } catch (error) {
      crowd.end(leader.signal.aborted ? 'given up' : { error });
      throw error;
    } finally {
      // Before any of those who waited is told.
      this.#crowds.delete(key);
    }
  }
}

class Crowd<Result> implements Announce {
  readonly #leader: Member;
  readonly #followers = new Set<Member>();
  readonly #ended = Promise.withResolvers<End<Result>>();
  #said: { readonly phase: 'filling' | 'verifying'; readonly bytesTotal: number | undefined } | undefined;
  #bytesDone = 0;

  constructor(leader: Member) {
    this.#leader = leader;
  }

  async follow(member: Member): Promise<End<Result>> {
    const gaveUp = Promise.withResolvers<never>();
    const onAbort = () => {
      gaveUp.reject(member.signal.reason as Error);
    };
    member.signal.addEventListener('abort', onAbort);
    this.#followers.add(member);
    try {
      if (this.#said !== undefined) member.phase(this.#said.phase, this.#said.bytesTotal);
      member.progress(this.#bytesDone);
      return await Promise.race([this.#ended.promise, gaveUp.promise]);
    } finally {
      this.#followers.delete(member);
      member.signal.removeEventListener('abort', onAbort);
    }
  }

  readonly isHurried = (): boolean =>
    [this.#leader, ...this.#followers].some(({ isPatient = false }) => !isPatient);

  end(end: End<Result>): void {
    this.#ended.resolve(end);
  }

  // These are fields, so that what is announced can be made a part of something else.
  readonly phase = (phase: 'filling' | 'verifying', bytesTotal?: number): void => {
    this.#said = { phase, bytesTotal };
    this.#bytesDone = 0;
    this.#leader.phase(phase, bytesTotal);
    this.#tell((follower) => {
      follower.phase(phase, bytesTotal);
    });
  };

  readonly progress = (bytesDone: number): void => {
    this.#bytesDone = bytesDone;
    this.#leader.progress(bytesDone);
    this.#tell((follower) => {
      follower.progress(bytesDone);
    });
  };

  /** One who stops just now says so by its signal. */
  #tell(say: (follower: Member) => void): void {
    for (const follower of this.#followers) {
      try {
        say(follower);
      } catch (error) {
        if (!follower.signal.aborted) throw error;
      }
    }
  }
}

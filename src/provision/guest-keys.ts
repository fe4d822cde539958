/**
 * What guests open their encrypted disks with: handed to libvirt just before a start is let through, and taken back
 * when the guest has ended or its host may not read the key any more. No key is kept; remembered is only for whom
 * which secret was set. What is set is asked of libvirt, and whether a guest runs as well: events only say when to look.
 */
import { encryptedDisks } from '../core/encrypted-disks.ts';
import type { Problem } from '../core/errors.ts';
import { isPassing, toProblem } from '../core/errors.ts';
import type { KeyReference } from '../core/key-reference.ts';
import { formatKeyReference } from '../core/key-reference.ts';
import type { Domain } from '../core/request.ts';
import { retryPauseMs } from '../core/retry-pause.ts';
import { secretPath } from '../core/secret-name.ts';
import type { ReceivingMark, Seal } from '../core/volume.ts';
import { readMark } from '../core/volume.ts';
import type {
  AuditTrail,
  Clock,
  DomainChange,
  Domains,
  GuestSecrets,
  Keys,
  KeyWatch,
  Ledger,
  Log,
  LuksVolumes,
  Volumes,
} from './ports.ts';
import type { TimeLimit } from './read-key.ts';
import { readKey, timeLimit, within } from './read-key.ts';
import { briefly, failureOf, newCorrelationId } from './recorded.ts';
import { Turns } from './taking-turns.ts';

/** From the gate's answer to the start of QEMU, for which libvirt waits for other hooks; then it runs or has failed. */
const ADMITTED_MS = 120_000;
/** What one reading may take while no start waits for it. */
const READ_LIMIT_MS = 10_000;
/** A refusal does not make the next pause longer any more. */
const FORGOTTEN_MS = 3_600_000;
/** Keys read at once, so that one that comes slowly does not keep all others from being looked at. */
const READINGS_MAX = 4;

/** An encrypted disk whose volume is proven to be this one. */
export interface KeyedDisk {
  readonly target: string;
  readonly key: KeyReference;
  readonly vg: string;
  readonly lv: string;
  readonly seal: Seal | ReceivingMark;
}

export interface GuestKeyNeeds {
  readonly keys: Keys;
  readonly luks: Pick<LuksVolumes, 'checkLuks'>;
  readonly secrets: GuestSecrets;
  readonly volumes: Pick<Volumes, 'list'>;
  readonly domains: Pick<Domains, 'read'>;
  readonly ledger: Pick<Ledger, 'domains' | 'domainOf'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly trail: AuditTrail;
  readonly watch: KeyWatch;
}

/** For whom a secret is set, or may be. */
interface Holder {
  readonly uuid: string;
  readonly key: KeyReference;
}

/** Whoever was refused a key is not asked for again at once. */
interface Refusal {
  readonly tries: number;
  readonly untilMs: number;
}

export class GuestKeys {
  readonly #needs: GuestKeyNeeds;
  readonly #startedMs: number;
  /** By path of the volume. */
  readonly #handed = new Map<string, Holder>();
  /** Until when a start that was let through counts as under way, in monotonic ms, by domain. */
  readonly #admittedUntilMs = new Map<string, number>();
  /** Another one for each start: what was decided of a domain before is out of date. */
  readonly #starts = new Map<string, object>();
  readonly #refusals = new Map<string, Refusal>();
  /** Setting and unsetting one secret, each after what was begun before. */
  readonly #turns = new Turns();
  readonly #stopped = new AbortController();
  readonly #works = new Set<Promise<void>>();
  #looking: Promise<void> | undefined;

  constructor(needs: GuestKeyNeeds) {
    this.#needs = needs;
    this.#startedMs = needs.clock.monotonicMs();
  }

  /**
   * Hands over what opens these disks, within the limit; or says why not, and then nothing of it stays set. The key is
   * tried on its volume first: a wrong one is noticed here and not by QEMU.
   */
  async handOver(domain: Domain, disks: readonly KeyedDisk[], limitMs: number): Promise<readonly Problem[]> {
    if (disks.length === 0) return [];
    const { uuid } = domain;
    const start = {};
    this.#starts.set(uuid, start);
    this.#admit(uuid);
    const limit = timeLimit(this.#needs.clock, limitMs);
    const outcomes = await Promise.all(disks.map((disk) => this.#handOverOne(uuid, disk, limit)));
    limit.end();
    const problems = outcomes.filter((problem) => problem !== undefined);
    if (problems.length === 0) {
      this.#admit(uuid);
      this.#refusals.delete(uuid);
      return [];
    }
    this.#refused(uuid, problems);
    if (this.#starts.get(uuid) === start) this.#admittedUntilMs.set(uuid, -Infinity);
    for (const { vg, lv } of disks) {
      const path = secretPath({ vg, lv });
      this.#do('take back a key', () => this.#unset(path, () => this.#starts.get(uuid) === start));
    }
    return problems;
  }

  /** For so long, in ms, no start of this domain is to be tried again, as its key was refused; undefined: it was not. */
  pauseMs(uuid: string): number | undefined {
    const refusal = this.#refusals.get(uuid);
    return refusal && Math.max(0, refusal.untilMs - this.#needs.clock.monotonicMs());
  }

  /** An event of libvirt about a domain. */
  heard(uuid: string, change: DomainChange | undefined): void {
    if (change === 'begun') this.#admittedUntilMs.set(uuid, -Infinity);
    if (change === 'begun' || change === 'defined') return;
    const known = this.#needs.ledger.domainOf(uuid);
    const paths = new Set(known === undefined ? [] : encryptedDisks(known.domain).map(({ path }) => path));
    for (const [path, holder] of this.#handed) if (holder.uuid === uuid) paths.add(path);
    for (const path of paths) {
      const holders = [this.#handed.get(path), { uuid }].filter((one) => one !== undefined);
      this.#do('take back a key', async () => {
        await this.#takeBackUnlessUsed(path, new Set(holders.map((holder) => holder.uuid)));
      });
    }
  }

  /** libvirtd may have been started anew: what running guests had is gone, and is set again as far as it is granted. */
  connected(): void {
    this.#do('hand keys over again', async () => {
      await this.#looking;
      await this.look('again');
    });
  }

  /** Looks at all that is set from time to time. */
  start(intervalMs: number, isLibvirtReachable: () => boolean): void {
    const { clock } = this.#needs;
    const run = async (): Promise<void> => {
      for (;;) {
        await clock.sleep(intervalMs, this.#stopped.signal).catch(() => undefined);
        if (this.#isStopped()) return;
        if (!isLibvirtReachable()) continue;
        await this.look().catch((error: unknown) => {
          this.#needs.log.warn({ problem: toProblem(error) }, 'could not look at the secrets of guests');
        });
      }
    };
    this.#do('look at the secrets of guests', run);
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.all(this.#works);
  }

  #isStopped(): boolean {
    return this.#stopped.signal.aborted;
  }

  /** Takes back what no guest needs, and what this host may not read any more; `again`: sets what is missing. */
  look(again?: 'again'): Promise<void> {
    this.#looking ??= this.#look(again).finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(again: 'again' | undefined): Promise<void> {
    this.#forgetEarlier();
    const holders = this.#holders();
    const set = await this.#needs.secrets.list();
    // A provider that does not answer is not waited for again and again.
    const silent = new Set<string>();
    await this.#eachOf(set, async (path) => {
      const theirs = holders.get(path) ?? [];
      const holder = await this.#takeBackUnlessUsed(path, new Set(theirs.map(({ uuid }) => uuid)));
      if (holder === undefined || this.#isStopped()) return;
      const key = this.#handed.get(path)?.key ?? theirs.find(({ uuid }) => uuid === holder)?.key;
      if (key !== undefined && !silent.has(key.provider)) {
        if (await this.#recheck(path, { uuid: holder, key })) silent.add(key.provider);
      }
    });
    if (again === 'again') await this.#setAgain(set);
  }

  /** Of domains that may never come back nothing is kept. */
  #forgetEarlier(): void {
    const nowMs = this.#needs.clock.monotonicMs();
    const holders = new Set([...this.#handed.values()].map(({ uuid }) => uuid));
    for (const uuid of this.#starts.keys()) {
      if (this.#isAdmitted(uuid) || holders.has(uuid)) continue;
      this.#starts.delete(uuid);
      this.#admittedUntilMs.delete(uuid);
    }
    for (const [uuid, { untilMs }] of this.#refusals) {
      if (untilMs + FORGOTTEN_MS < nowMs) this.#refusals.delete(uuid);
    }
  }

  /** Everybody who may need the secret of a path. */
  #holders(): ReadonlyMap<string, readonly Holder[]> {
    const found = new Map([...this.#handed].map(([path, holder]): [string, Holder[]] => [path, [holder]]));
    for (const { domain } of this.#needs.ledger.domains()) {
      for (const { path, key } of encryptedDisks(domain)) {
        found.set(path, [...(found.get(path) ?? []), { uuid: domain.uuid, key }]);
      }
    }
    return found;
  }

  /**
   * The domain whose guest runs and needs the secret. If there is none, and none is just being started, it is taken
   * back; where that cannot be told it stays.
   */
  async #takeBackUnlessUsed(path: string, holders: ReadonlySet<string>): Promise<string | undefined> {
    const starts = new Map([...holders].map((uuid) => [uuid, this.#starts.get(uuid)]));
    const isIdle = () =>
      [...starts].every(([uuid, start]) => this.#starts.get(uuid) === start && !this.#isAdmitted(uuid));
    if (holders.size === 0 && this.#isAdmitted(undefined)) return undefined;
    if (!isIdle()) return undefined;
    for (const uuid of holders) if ((await this.#needs.domains.read(uuid))?.active === true) return uuid;
    await this.#unset(path, isIdle);
    return undefined;
  }

  /** True if the provider does not answer. */
  async #recheck(path: string, { uuid, key }: Holder): Promise<boolean> {
    const { keys, clock, log } = this.#needs;
    const start = this.#starts.get(uuid);
    const limit = timeLimit(clock, READ_LIMIT_MS);
    try {
      (await readKey(keys, key, limit)).wipe();
      return false;
    } catch (error) {
      const problem = toProblem(error);
      const fields = { domain: uuid, path, key: formatKeyReference(key), problem };
      if (problem.code === 'KEY_DENIED' || problem.code === 'KEY_NOT_FOUND') {
        if (this.#starts.get(uuid) !== start) return false;
        await this.#unset(path, () => this.#starts.get(uuid) === start);
        log.warn(
          fields,
          'this host may not read the key any more: libvirt has it no more, its guest goes on',
        );
        this.#needs.watch.revoked();
        this.#record(
          'key revoked',
          path,
          { uuid, key },
          {
            ...{ decision: 'denied', outcome: 'done', problem: briefly(problem) },
          },
        );
        return false;
      }
      log.warn(fields, 'whether the key is still granted could not be told; nothing changes until it can');
      return problem.code === 'KEY_SERVER_UNREACHABLE';
    } finally {
      limit.end();
    }
  }

  /** Never for a guest that does not run; what fails is told and not tried again. */
  async #setAgain(set: readonly string[]): Promise<void> {
    const { ledger, domains, volumes, clock } = this.#needs;
    const missing = ledger
      .domains()
      .flatMap(({ domain: { uuid }, domain }) => encryptedDisks(domain).map((disk) => ({ uuid, ...disk })))
      .filter(({ path }) => !set.includes(path));
    if (missing.length === 0) return;
    const { volumes: listed } = await volumes.list();
    await this.#eachOf(missing, async ({ uuid, path, ...disk }) => {
      const start = this.#starts.get(uuid);
      const volume = listed.find((one) => secretPath(one) === path);
      const seal = volume && readMark(volume.tags);
      const isTheirs = (seal?.state === 'ready' || seal?.state === 'receiving') && seal.domainUuid === uuid;
      if (volume === undefined || !isTheirs || this.#isAdmitted(uuid)) return;
      if ((await domains.read(uuid))?.active !== true || this.#starts.get(uuid) !== start) return;
      const limit = timeLimit(clock, READ_LIMIT_MS);
      await this.#handOverOne(uuid, { ...disk, vg: volume.vg, lv: volume.lv, seal }, limit);
      limit.end();
    });
  }

  /** Undefined if libvirt has it; else why not. */
  async #handOverOne(uuid: string, disk: KeyedDisk, limit: TimeLimit): Promise<Problem | undefined> {
    const { keys, log, watch } = this.#needs;
    const path = secretPath(disk);
    const holder = { uuid, key: disk.key };
    try {
      const key = await readKey(keys, disk.key, limit);
      await within(limit, this.#checkAndSet(path, disk, { key, limit }), TOO_LATE);
      this.#handed.set(path, holder);
      watch.handedOver('done');
      this.#record('key hand over', path, holder, { decision: 'allowed', outcome: 'done' });
      return undefined;
    } catch (error) {
      const problem = toProblem(error);
      log.warn(
        { domain: uuid, path, key: formatKeyReference(disk.key), problem },
        'a key was not handed over',
      );
      watch.handedOver('refused');
      this.#record('key hand over', path, holder, failureOf(error));
      return { ...problem, message: `Disk ${disk.target}: ${problem.message}` };
    }
  }

  /** Goes on when nobody waits any more, and wipes the key when nobody uses it any more. */
  async #checkAndSet(
    path: string,
    { vg, seal }: KeyedDisk,
    { key, limit }: { readonly key: Awaited<ReturnType<Keys['read']>>; readonly limit: TimeLimit },
  ): Promise<void> {
    const { luks, secrets } = this.#needs;
    try {
      await luks.checkLuks(vg, seal, key);
      await this.#turns.take(path, async () => {
        if (!limit.signal.aborted) await secrets.set(path, key);
      });
    } finally {
      key.wipe();
    }
  }

  async #unset(path: string, isStillMeant: () => boolean): Promise<void> {
    await this.#turns.take(path, async () => {
      if (!isStillMeant()) return;
      await this.#needs.secrets.unset(path);
      const holder = this.#handed.get(path);
      this.#handed.delete(path);
      if (holder !== undefined) {
        this.#record('key take back', path, holder, { decision: 'allowed', outcome: 'done' });
      }
    });
  }

  #admit(uuid: string): void {
    this.#admittedUntilMs.set(uuid, this.#needs.clock.monotonicMs() + ADMITTED_MS);
  }

  /** A start was let through and may be under way; also one that was let through before this program began. */
  #isAdmitted(uuid: string | undefined): boolean {
    const untilMs = this.#admittedUntilMs.get(uuid ?? '') ?? this.#startedMs + ADMITTED_MS;
    return this.#needs.clock.monotonicMs() < untilMs;
  }

  #refused(uuid: string, problems: readonly Problem[]): void {
    if (!problems.every(isPassing)) {
      this.#refusals.delete(uuid);
      return;
    }
    const tries = (this.#refusals.get(uuid)?.tries ?? 0) + 1;
    const untilMs = this.#needs.clock.monotonicMs() + retryPauseMs(tries, Math.random());
    this.#refusals.set(uuid, { tries, untilMs });
  }

  #record(
    what: 'key hand over' | 'key take back' | 'key revoked',
    path: string,
    { uuid, key }: Holder,
    how: Pick<Parameters<AuditTrail['record']>[0], 'decision' | 'outcome' | 'problem'>,
  ): void {
    this.#needs.trail.record({
      ...{
        who: what === 'key hand over' ? `domain:${uuid}` : 'daemon',
        what,
        domain: uuid,
        volume: path.replace(/^\/dev\//, ''),
      },
      ...{ key: formatKeyReference(key), correlationId: newCorrelationId(), ...how },
    });
  }

  /** Some at once. One that fails does not keep the others from being looked at. */
  async #eachOf<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
    const left = all[Symbol.iterator]();
    const problems: Problem[] = [];
    const lane = async (): Promise<void> => {
      for (const one of left) await work(one).catch((error: unknown) => problems.push(toProblem(error)));
    };
    await Promise.all(Array.from({ length: READINGS_MAX }, lane));
    const [problem] = problems;
    if (problem === undefined) return;
    this.#needs.log.warn(
      { problem, count: problems.length },
      'could not look at secrets of guests; it is tried again',
    );
  }

  #do(what: string, work: () => Promise<void>): void {
    const done = work()
      .catch((error: unknown) => {
        this.#needs.log.warn({ problem: toProblem(error) }, `could not ${what}; it is looked at again later`);
      })
      .finally(() => this.#works.delete(done));
    this.#works.add(done);
  }
}

const TOO_LATE: Problem = {
  code: 'TIMEOUT',
  message: 'Its key could not be tried on its volume and handed to libvirt in time.',
  hint: 'LVM or libvirt is busy or stuck; try again in a moment.',
};

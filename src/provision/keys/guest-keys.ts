/**
 * What guests open their encrypted disks with: handed to libvirt just before a start is let through, and taken back
 * when the guest has ended or its host may not read the key any more. No key is kept; remembered is only for whom
 * which secret was set. What is set is asked of libvirt, and whether a guest runs as well: events only say when to look.
 */
import { encryptedDisks } from '../../core/key/encrypted-disks.ts';
import type { Problem } from '../../core/errors.ts';
import { toProblem } from '../../core/errors.ts';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import type { Domain } from '../../core/request.ts';
import { secretPath } from '../../core/key/secret-name.ts';
import { readMark } from '../../core/volume/volume.ts';
import { GuestStarts } from '../gate/guest-starts.ts';
import type { Holder, KeyedDisk, SecretNeeds } from './handed-secrets.ts';
import { CHANGED, HandedSecrets } from './handed-secrets.ts';
import type { Clock } from '../ports/host.ts';
import type { Ledger } from '../ports/ledger.ts';
import type { DomainChange, Domains } from '../ports/libvirt.ts';
import type { Volumes } from '../ports/volumes.ts';
import { readKey } from './read-key.ts';
import { timeLimit } from '../time-limit.ts';
import { briefly } from '../audit/recorded.ts';

/** What one reading may take while no start waits for it. */
const READ_LIMIT_MS = 10_000;
/** Keys read at once, so that one that comes slowly does not keep all others from being looked at. */
const READINGS_MAX = 4;

export interface GuestKeyNeeds extends SecretNeeds {
  readonly volumes: Pick<Volumes, 'list'>;
  readonly domains: Pick<Domains, 'read'>;
  readonly ledger: Pick<Ledger, 'domains' | 'domainOf'>;
  readonly clock: Clock;
}

export class GuestKeys {
  readonly #needs: GuestKeyNeeds;
  readonly #secrets: HandedSecrets;
  readonly #starts: GuestStarts;
  readonly #stopped = new AbortController();
  readonly #works = new Set<Promise<void>>();
  #looking: Promise<void> | undefined;
  #looks = 0;
  /** libvirtd may have forgotten what running guests had, and not all of it is set again. */
  #isSomeForgotten = false;

  constructor(needs: GuestKeyNeeds) {
    this.#needs = needs;
    this.#secrets = new HandedSecrets(needs);
    this.#starts = new GuestStarts(needs.clock);
  }

  /**
   * Hands over what opens these disks, within the limit; or says why not, and then nothing of it stays set. The key is
   * tried on its volume first: a wrong one is noticed here and not by QEMU. `lastLook` says whether anything else stands
   * in the way of the start by then; it is refused for that just the same.
   */
  async handOver(
    domain: Domain,
    disks: readonly KeyedDisk[],
    limitMs: number,
    lastLook: () => Promise<readonly Problem[]> = () => Promise.resolve([]),
  ): Promise<readonly Problem[]> {
    if (disks.length === 0) return [];
    const { uuid } = domain;
    const isLast = this.#starts.begin(uuid);
    const limit = timeLimit(this.#needs.clock, limitMs);
    const outcomes = await Promise.all(disks.map((disk) => this.#secrets.set(uuid, disk, limit)));
    limit.end();
    const refused = outcomes.filter((problem) => problem !== undefined);
    try {
      const problems = refused.length > 0 ? refused : await lastLook();
      if (problems.length === 0) this.#starts.admitted(uuid);
      else this.#refuse(uuid, { disks, problems, isLast });
      return problems;
    } catch (error) {
      this.#refuse(uuid, { disks, problems: [toProblem(error)], isLast });
      throw error;
    }
  }

  /** Nothing stays set for a start that is not let through, unless another one has begun since. */
  #refuse(
    uuid: string,
    how: {
      readonly disks: readonly KeyedDisk[];
      readonly problems: readonly Problem[];
      readonly isLast: () => boolean;
    },
  ): void {
    this.#starts.refused(uuid, how.problems, how.isLast());
    for (const { vg, lv } of how.disks) {
      const path = secretPath({ vg, lv });
      this.#do('take back a key', () => this.#secrets.unset(path, how.isLast));
    }
  }

  /** For so long, in ms, no start of this domain is to be tried again, as its key was refused; undefined: it was not. */
  pauseMs(uuid: string): number | undefined {
    return this.#starts.pauseMs(uuid);
  }

  /** An event of libvirt about a domain. */
  heard(uuid: string, change: DomainChange | undefined): void {
    if (change === 'begun') this.#starts.begun(uuid);
    if (change === 'begun' || change === 'defined') return;
    const known = this.#needs.ledger.domainOf(uuid);
    const paths = new Set(known === undefined ? [] : encryptedDisks(known.domain).map(({ path }) => path));
    for (const [path, holder] of this.#secrets.holders) if (holder.uuid === uuid) paths.add(path);
    for (const path of paths) {
      const holders = [this.#secrets.holderOf(path), { uuid }].filter((one) => one !== undefined);
      this.#do('take back a key', async () => {
        await this.#takeBackUnlessUsed(path, new Set(holders.map((holder) => holder.uuid)));
      });
    }
  }

  /** libvirtd may have been started anew: what running guests had is gone, and is set again as far as it is granted. */
  connected(): void {
    this.#do('hand keys over again', async () => {
      // A look that has begun may have seen what was set before.
      await this.#looking;
      this.#isSomeForgotten = true;
      await this.look();
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

  /** Takes back what no guest needs, and what this host may not read any more; sets what libvirtd may have forgotten. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(): Promise<void> {
    this.#starts.forgetEarlier(new Set([...this.#secrets.holders.values()].map(({ uuid }) => uuid)));
    const holders = this.#holders();
    const set = await this.#needs.secrets.list();
    // A provider that does not answer is not waited for again and again. One odd answer is not that, and keeps no other
    // key from being looked at; nor do some, as each look begins with another key.
    const unanswered = new Map<string, number>();
    const answering = new Set<string>();
    const isSilent = (provider: string) =>
      !answering.has(provider) && (unanswered.get(provider) ?? 0) >= READINGS_MAX;
    const first = this.#looks++ % Math.max(1, set.length);
    await this.#eachOf([...set.slice(first), ...set.slice(0, first)], async ({ path, isIntact }) => {
      const theirs = holders.get(path) ?? [];
      if (!isIntact) this.#needs.log.error({ path, problem: CHANGED }, 'a secret of a guest was changed');
      const changed = isIntact ? undefined : theirs[0];
      const holder = await this.#takeBackUnlessUsed(path, new Set(theirs.map(({ uuid }) => uuid)), changed);
      if (holder === undefined || this.#isStopped()) return;
      const key = this.#secrets.holderOf(path)?.key ?? theirs.find(({ uuid }) => uuid === holder)?.key;
      if (!isIntact) {
        if (key !== undefined) await this.#takeBackChanged(path, { uuid: holder, key });
        return;
      }
      if (key === undefined || isSilent(key.provider)) return;
      const isAnswered = await this.#recheck(path, { uuid: holder, key });
      if (isAnswered) answering.add(key.provider);
      else unanswered.set(key.provider, (unanswered.get(key.provider) ?? 0) + 1);
    });
    if (!this.#isSomeForgotten) return;
    // First: what is forgotten meanwhile is left to the next look.
    this.#isSomeForgotten = false;
    try {
      const intact = set.flatMap(({ path, isIntact }) => (isIntact ? [path] : []));
      if (await this.#setAgain(intact)) this.#isSomeForgotten = true;
    } catch (error) {
      this.#isSomeForgotten = true;
      throw error;
    }
  }

  /** Everybody who may need the secret of a path. */
  #holders(): ReadonlyMap<string, readonly Holder[]> {
    const found = new Map(
      [...this.#secrets.holders].map(([path, holder]): [string, Holder[]] => [path, [holder]]),
    );
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
  async #takeBackUnlessUsed(
    path: string,
    holders: ReadonlySet<string>,
    changed?: Holder,
  ): Promise<string | undefined> {
    const unchanged = [...holders].map((uuid) => this.#starts.unchanged(uuid));
    const isIdle = () =>
      unchanged.every((isSo) => isSo()) && ![...holders].some((uuid) => this.#starts.isUnderWay(uuid));
    if (holders.size === 0 && this.#starts.isUnderWay(undefined)) return undefined;
    if (!isIdle()) return undefined;
    for (const uuid of holders) if ((await this.#needs.domains.read(uuid))?.active === true) return uuid;
    await this.#secrets.unset(path, isIdle, changed);
    return undefined;
  }

  /** What its guest may need is set again. */
  async #takeBackChanged(path: string, holder: Holder): Promise<void> {
    await this.#secrets.unset(path, this.#starts.unchanged(holder.uuid), holder);
    this.#isSomeForgotten = true;
  }

  /** False if the provider has not answered. */
  async #recheck(path: string, { uuid, key }: Holder): Promise<boolean> {
    const { keys, clock, log } = this.#needs;
    const isSame = this.#starts.unchanged(uuid);
    const limit = timeLimit(clock, READ_LIMIT_MS);
    try {
      (await readKey(keys, key, limit)).wipe();
      return true;
    } catch (error) {
      const problem = toProblem(error);
      const fields = { domain: uuid, path, key: formatKeyReference(key), problem };
      if (problem.code === 'KEY_DENIED' || problem.code === 'KEY_NOT_FOUND') {
        if (!isSame()) return true;
        await this.#secrets.unset(path, isSame);
        log.warn(
          fields,
          'this host may not read the key any more: libvirt has it no more, its guest goes on',
        );
        this.#needs.watch.revoked();
        this.#secrets.record(
          'key revoked',
          path,
          { uuid, key },
          {
            ...{ decision: 'denied', outcome: 'done', problem: briefly(problem) },
          },
        );
        return true;
      }
      log.warn(fields, 'whether the key is still granted could not be told; nothing changes until it can');
      return problem.code !== 'KEY_SERVER_UNREACHABLE';
    } finally {
      limit.end();
    }
  }

  /**
   * Never for a guest that does not run; what fails is told and not tried again. True if there is one whose start may
   * be under way, so that libvirt is not asked about it now.
   */
  async #setAgain(set: readonly string[]): Promise<boolean> {
    const { ledger, domains, volumes, clock } = this.#needs;
    const missing = ledger
      .domains()
      .flatMap(({ domain: { uuid }, domain }) => encryptedDisks(domain).map((disk) => ({ uuid, ...disk })))
      .filter(({ path }) => !set.includes(path));
    if (missing.length === 0) return false;
    let isSomeLeft = false;
    const { volumes: listed } = await volumes.list();
    await this.#eachOf(missing, async ({ uuid, path, ...disk }) => {
      const isSame = this.#starts.unchanged(uuid);
      const volume = listed.find((one) => secretPath(one) === path);
      const seal = volume && readMark(volume.tags);
      const isTheirs = (seal?.state === 'ready' || seal?.state === 'receiving') && seal.domainUuid === uuid;
      // By its definition it may be encrypted from its next start on.
      if (volume === undefined || !isTheirs || seal.encryption === undefined) return;
      if (this.#starts.isUnderWay(uuid)) {
        isSomeLeft = true;
        return;
      }
      // A guest that runs has its volumes open: this one is that of its definition, for its next start.
      if (!volume.open || (await domains.read(uuid))?.active !== true || !isSame()) return;
      const limit = timeLimit(clock, READ_LIMIT_MS);
      await this.#secrets.set(uuid, { ...disk, vg: volume.vg, lv: volume.lv, seal }, limit);
      limit.end();
    });
    return isSomeLeft;
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

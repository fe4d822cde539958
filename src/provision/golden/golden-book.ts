/**
 * What is remembered of golden volumes beside their tags: when each was last used, what its bytes were compared with,
 * and which of them are being removed, and why. It outlives the daemon; lost, it is begun anew: what is unknown counts
 * as used when it is first seen again, and its bytes as compared with nothing but their SHA-256.
 */
import { ProvisionError, toProblem } from '../../core/errors.ts';
import type { GoldenSeal } from '../../core/volume/volume.ts';
import type { Clock, Log } from '../ports/host.ts';
import type { GoldenEnd, GoldenRecord, GoldenRows } from '../ports/ledger.ts';

type Which = Pick<GoldenSeal, 'fillId' | 'sha256'>;

export interface GoldenBookNeeds {
  readonly ledger: GoldenRows;
  readonly clock: Clock;
  readonly log: Log;
}

export class GoldenBook {
  readonly #needs: GoldenBookNeeds;
  /** Also what could not be written down. */
  readonly #rows: Map<string, GoldenRecord>;

  constructor(needs: GoldenBookNeeds) {
    this.#needs = needs;
    this.#rows = new Map(needs.ledger.goldens().map((record) => [record.fillId, record]));
  }

  /** Unix time in ms. */
  usedAtMs(which: Which): number | undefined {
    return this.#of(which)?.usedAtMs;
  }

  /** With what its bytes were compared besides their SHA-256: see provenBy() in core/images/proof.ts. */
  isProvenBy(which: Which, proofs: readonly string[]): boolean {
    const known = this.#of(which)?.provenBy ?? [];
    return proofs.every((proof) => known.includes(proof));
  }

  /** Why it was to be removed, by this daemon or the one before. */
  leaving(which: Which): GoldenEnd | undefined {
    return this.#of(which)?.leaving;
  }

  isDamaged(which: Which): boolean {
    return this.leaving(which) === 'damaged';
  }

  /** It is being filled, or a volume is being made of it: it stays, unless it is damaged. */
  used(which: Which): void {
    const leaving = this.isDamaged(which) ? 'damaged' : undefined;
    this.#orWarn(which, { usedAtMs: this.#needs.clock.nowMs(), leaving });
  }

  proven(which: Which, proofs: readonly string[]): void {
    if (this.isProvenBy(which, proofs)) return;
    const known = this.#of(which)?.provenBy ?? [];
    this.#orWarn(which, { provenBy: [...new Set([...known, ...proofs])] });
  }

  /** Before it is removed. STATE_FOLDER_FAILED if that cannot be written down, but for what must go in any case. */
  leaves(which: Which, why: GoldenEnd): void {
    if (this.leaving(which) === why) return;
    if (why === 'damaged' || why === 'useless') this.#orWarn(which, { leaving: why });
    else this.#orThrow(which, { leaving: why });
  }

  /** It could not be removed. What is damaged remains so. */
  stays(which: Which): void {
    if (this.isDamaged(which) || this.leaving(which) === undefined) return;
    this.#orWarn(which, { leaving: undefined });
  }

  gone({ fillId }: Pick<Which, 'fillId'>): void {
    this.#rows.delete(fillId);
    try {
      this.#needs.ledger.removeGolden(fillId);
    } catch (error) {
      this.#warn(fillId, error);
    }
  }

  /** These are there; those that are not, and that nobody is making, are forgotten. */
  seen(there: readonly Which[], making: ReadonlySet<string>): void {
    const ids = new Set(there.map(({ fillId }) => fillId));
    for (const which of there) if (this.#of(which) === undefined) this.used(which);
    for (const fillId of this.#rows.keys())
      if (!ids.has(fillId) && !making.has(fillId)) this.gone({ fillId });
  }

  /** What is known under the same id about other bytes is about something else. */
  #of({ fillId, sha256 }: Which): GoldenRecord | undefined {
    const row = this.#rows.get(fillId);
    return row?.sha256 === sha256 ? row : undefined;
  }

  #changed(which: Which, change: Partial<GoldenRecord>): GoldenRecord {
    const { fillId, sha256 } = which;
    const before = this.#of(which) ?? { fillId, sha256, usedAtMs: this.#needs.clock.nowMs(), provenBy: [] };
    return { ...before, ...change };
  }

  #put(record: GoldenRecord): void {
    this.#needs.ledger.putGolden(record);
    this.#rows.set(record.fillId, record);
  }

  #orThrow(which: Which, change: Partial<GoldenRecord>): void {
    try {
      this.#put(this.#changed(which, change));
    } catch (cause) {
      throw new ProvisionError({
        code: 'STATE_FOLDER_FAILED',
        message: `It cannot be written down that the golden volume ${which.fillId} is to go, so it stays.`,
        hint: 'Is the file system of state_dir full, read-only or damaged?',
        cause,
      });
    }
  }

  /** What cannot be written down is remembered until the daemon ends. */
  #orWarn(which: Which, change: Partial<GoldenRecord>): void {
    const record = this.#changed(which, change);
    try {
      this.#put(record);
    } catch (error) {
      this.#rows.set(record.fillId, record);
      this.#warn(record.fillId, error);
    }
  }

  #warn(golden: string, error: unknown): void {
    this.#needs.log.warn({ golden, problem: toProblem(error) }, 'a golden volume was not written down');
  }
}

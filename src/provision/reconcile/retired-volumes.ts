/** Volumes that were put aside are seen to, by one look at a time, beside whatever else is done. */
import { toProblem } from '../../core/errors.ts';
import type { SettleNeeds } from '../ends/settle-retired.ts';
import { settleRetired } from '../ends/settle-retired.ts';
import { observe } from '../observe.ts';

export class RetiredVolumes {
  readonly #needs: SettleNeeds;
  readonly #look: (uuid: string) => void;
  #settling: Promise<void> | undefined;

  constructor(needs: SettleNeeds, look: (uuid: string) => void) {
    this.#needs = needs;
    this.#look = look;
  }

  /** The look that is under way, if any. */
  get settling(): Promise<void> | undefined {
    return this.#settling;
  }

  /** What fails is met again by the next plan of the domain, or by the timer. */
  settle(): void {
    const { log } = this.#needs;
    this.#settling ??= observe(this.#needs, [])
      .then((observation) => settleRetired(this.#needs, observation))
      .then(
        (uuids) => {
          for (const uuid of uuids) this.#look(uuid);
        },
        (error: unknown) => {
          log.warn({ problem: toProblem(error) }, 'could not look at volumes that were put aside');
        },
      )
      .finally(() => {
        this.#settling = undefined;
      });
  }
}

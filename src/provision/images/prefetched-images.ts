/**
 * What the rules of the configuration have brought here, and by that what is pinned. It outlives the daemon, because
 * the cache is looked through for what may go before the store has been asked for anything.
 */
import type { PrefetchRule } from '../../core/policy/prefetch-rule.ts';
import { prefetchRuleFor } from '../../core/policy/prefetch-rule.ts';
import type { GoldenSeal } from '../../core/volume/volume.ts';
import { imageNameOfTag } from '../../core/volume/volume.ts';
import type { Log } from '../ports/host.ts';
import type { PrefetchRecords, PrefetchedImage } from '../ports/image-cache.ts';

export class PrefetchedImages {
  readonly #records: PrefetchRecords;
  readonly #rules: readonly PrefetchRule[];
  readonly #log: Log;
  #images = new Map<string, PrefetchedImage>();
  /** What each rule wanted when its bucket was last listed. */
  readonly #wanted = new Map<PrefetchRule, ReadonlySet<string>>();

  constructor(records: PrefetchRecords, rules: readonly PrefetchRule[], log: Log) {
    this.#records = records;
    this.#rules = rules;
    this.#log = log;
  }

  /** Reads what was written down; what no rule is about any more is forgotten. */
  async open(): Promise<void> {
    const known = await this.#records.read();
    const wanted = known.filter(({ image }) => this.#ruleOf(image) !== undefined);
    this.#images = new Map(wanted.map((image) => [image.image, image]));
  }

  /** What was brought as this `BUCKET/KEY`, whatever it is by now. */
  of(image: string): PrefetchedImage | undefined {
    return this.#images.get(image);
  }

  list(): readonly PrefetchedImage[] {
    return [...this.#images.values()];
  }

  /** The rule that pins this digest, wherever it is: in the cache, or as a golden volume. */
  pinOf(sha256: string): PrefetchRule | undefined {
    for (const { image, sha256: brought } of this.#images.values()) {
      const rule = brought === sha256 ? this.#ruleOf(image) : undefined;
      if (rule?.pin === true) return rule;
    }
    return undefined;
  }

  isPinned(sha256: string): boolean {
    return this.pinOf(sha256) !== undefined;
  }

  /**
   * Whether a golden volume with this seal is pinned, or may be: as long as it is not known which bytes an image of a
   * pinning rule has (what was written down is lost, and the store has not been asked yet), all that was made of it is.
   */
  mayPin({ sha256, image }: Pick<GoldenSeal, 'sha256' | 'image'>): boolean {
    if (this.isPinned(sha256)) return true;
    const name = imageNameOfTag(image);
    // Of a name that was too long only a digest is there.
    if (name === undefined) return this.#rules.some((one) => one.pin && !this.#wanted.has(one));
    const rule = this.#ruleOf(name);
    if (rule?.pin !== true || this.#images.has(name)) return false;
    return this.#wanted.get(rule)?.has(name) ?? true;
  }

  /** It is here. An older one under the same name is pinned no longer. */
  async put(image: PrefetchedImage): Promise<void> {
    this.#images.set(image.image, image);
    await this.#write();
  }

  /** Of the images of this rule only these are still wanted. */
  async keepOnly(rule: PrefetchRule, names: ReadonlySet<string>): Promise<void> {
    this.#wanted.set(rule, names);
    const gone = this.list().filter(({ image }) => this.#ruleOf(image) === rule && !names.has(image));
    if (gone.length === 0) return;
    for (const { image } of gone) this.#images.delete(image);
    await this.#write();
  }

  #ruleOf(image: string): PrefetchRule | undefined {
    return prefetchRuleFor(this.#rules, image);
  }

  /** What cannot be written is found out again by the next daemon. */
  async #write(): Promise<void> {
    try {
      await this.#records.write(this.list());
    } catch (error) {
      this.#log.warn({ err: error }, 'what was prefetched could not be written down');
    }
  }
}

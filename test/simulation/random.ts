/** All chance of a run comes out of here, and all of it out of the seed. */
export class Random {
  readonly #words: [number, number, number, number];

  /** Streams of one seed do not depend on how much was drawn from another. */
  constructor(seed: number, stream = 0) {
    this.#words = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0, stream >>> 0, 1];
    for (let warmUp = 0; warmUp < 16; warmUp++) this.next();
  }

  /** In [0, 1). The generator is sfc32 (PractRand). */
  next(): number {
    let [a, b, c, d] = this.#words;
    const sum = (a + b + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    this.#words[0] = a;
    this.#words[1] = b;
    this.#words[2] = c | 0;
    this.#words[3] = d;
    return (sum >>> 0) / 2 ** 32;
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** A whole number in [least, most]. */
  between(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  pick<T>(choices: readonly T[]): T {
    const chosen = choices[this.between(0, choices.length - 1)];
    if (chosen === undefined) throw new RangeError('nothing to choose from');
    return chosen;
  }

  /** Small numbers often, large ones now and then: most waits are short and a few are very long. */
  skewed(most: number): number {
    return Math.floor(most * this.next() ** 4);
  }
}

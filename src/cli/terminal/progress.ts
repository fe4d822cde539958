/** Progress of work on one image: painted over on a terminal, a line for each tenth elsewhere, none with --json. */
import { stepOf } from '../watch.ts';
import { barLine } from './format.ts';
import type { Output, Painter } from './output.ts';

const PAINT_MS = 100;

export class Progress {
  readonly #output: Output;
  readonly #painter: Painter | undefined;
  readonly #beganMs = performance.now();
  #paintedMs = 0;
  #step = 0;

  private constructor(output: Output, painter: Painter | undefined) {
    this.#output = output;
    this.#painter = painter;
  }

  static async open(output: Output): Promise<Progress> {
    return new Progress(output, await output.painter());
  }

  get seconds(): number {
    return (performance.now() - this.#beganMs) / 1000;
  }

  readonly show = (bytesDone: number, bytesTotal: number): void => {
    if (this.#output.json || bytesTotal === 0) return;
    const rate = this.seconds > 0.2 ? bytesDone / this.seconds : undefined;
    if (this.#painter !== undefined) {
      const nowMs = performance.now();
      if (nowMs - this.#paintedMs < PAINT_MS && bytesDone < bytesTotal) return;
      this.#paintedMs = nowMs;
      this.#painter.paint(barLine(bytesDone, bytesTotal, rate));
      return;
    }
    const step = stepOf(bytesDone, bytesTotal);
    if (step === this.#step) return;
    this.#step = step;
    this.#output.note(barLine(bytesDone, bytesTotal, rate));
  };

  /** What has been painted goes, for the result to come. */
  readonly end = (): void => {
    this.#painter?.clear();
  };
}

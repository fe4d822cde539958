/** Progress of work on one image: painted over on a terminal, a line for each tenth elsewhere, none with --json. */
import { barLine } from './format.ts';
import type { Output } from './output.ts';

const PAINT_MS = 100;
const PLAIN_STEPS = 10;

export class Progress {
  readonly #output: Output;
  readonly #beganMs = performance.now();
  #paintedMs = 0;
  #step = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  get seconds(): number {
    return (performance.now() - this.#beganMs) / 1000;
  }

  readonly show = (bytesDone: number, bytesTotal: number): void => {
    const output = this.#output;
    if (output.json || bytesTotal === 0) return;
    const rate = this.seconds > 0.2 ? bytesDone / this.seconds : undefined;
    if (output.live) {
      const nowMs = performance.now();
      if (nowMs - this.#paintedMs < PAINT_MS && bytesDone < bytesTotal) return;
      this.#paintedMs = nowMs;
      output.repaint(barLine(bytesDone, bytesTotal, rate));
      return;
    }
    const step = Math.floor((bytesDone / bytesTotal) * PLAIN_STEPS);
    if (step === this.#step) return;
    this.#step = step;
    output.note(barLine(bytesDone, bytesTotal, rate));
  };
}

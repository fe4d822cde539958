/** The program itself: which it is, what it takes, and for how long its thread stands still. */
import type { Registry } from 'prom-client';
import { Counter, Gauge } from 'prom-client';

/** The longest delay is that of this window or the one before it, so that several readers see it. */
const WINDOW_MS = 60_000;

export class ProgramMetrics {
  readonly #delay;
  readonly #memory;
  readonly #cpu;
  #sinceMs = performance.now();
  #maxMs = 0;
  #maxBeforeMs = 0;
  #cpuSeconds = 0;

  constructor(registry: Registry, version: string) {
    const registers = [registry];
    const build = new Gauge({
      ...{ name: 'lvp_build_info', help: 'Always 1; its labels say which program this is.', registers },
      labelNames: ['version', 'node'],
    });
    build.set({ version, node: process.versions.node }, 1);
    const start = new Gauge({
      ...{ name: 'process_start_time_seconds', help: 'When the program began, as Unix time.', registers },
    });
    start.set(performance.timeOrigin / 1000);
    this.#delay = new Gauge({
      name: 'lvp_event_loop_delay_max_seconds',
      help: 'The longest time in the last minute or two for which the program stood still, and the gate with it.',
      registers,
      collect: () => {
        this.#read();
      },
    });
    this.#memory = new Gauge({
      ...{ name: 'process_resident_memory_bytes', help: 'Memory of the program and its threads.', registers },
    });
    this.#cpu = new Counter({
      name: 'process_cpu_seconds_total',
      help: 'Processor time of the program and its threads.',
      registers,
    });
  }

  /** A tick of the event loop was late by so much. */
  readonly delayed = (lateMs: number): void => {
    this.#turnWindow();
    this.#maxMs = Math.max(this.#maxMs, lateMs);
  };

  #turnWindow(): void {
    const nowMs = performance.now();
    if (nowMs - this.#sinceMs < WINDOW_MS) return;
    this.#maxBeforeMs = nowMs - this.#sinceMs < 2 * WINDOW_MS ? this.#maxMs : 0;
    this.#maxMs = 0;
    this.#sinceMs = nowMs;
  }

  #read(): void {
    this.#turnWindow();
    this.#delay.set(Math.max(this.#maxMs, this.#maxBeforeMs) / 1000);
    this.#memory.set(process.memoryUsage.rss());
    const { user, system } = process.cpuUsage();
    const cpuSeconds = (user + system) / 1e6;
    this.#cpu.inc(cpuSeconds - this.#cpuSeconds);
    this.#cpuSeconds = cpuSeconds;
  }
}

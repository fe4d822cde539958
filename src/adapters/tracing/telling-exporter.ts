/** An exporter that says once that it does not get through, and once that it does again. */
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import type { Log } from '../../provision/ports/host.ts';

export class TellingExporter implements SpanExporter {
  readonly #inner: SpanExporter;
  readonly #log: Log;
  readonly #endpoint: string;
  #lost = 0;

  constructor(inner: SpanExporter, endpoint: string, log: Log) {
    this.#inner = inner;
    this.#endpoint = endpoint;
    this.#log = log;
  }

  export(spans: ReadableSpan[], told: Parameters<SpanExporter['export']>[1]): void {
    this.#inner.export(spans, (result) => {
      if (result.error === undefined) this.#through();
      else this.#notThrough(spans.length, result.error);
      told(result);
    });
  }

  shutdown(): Promise<void> {
    return this.#inner.shutdown();
  }

  #through(): void {
    if (this.#lost > 0) {
      const fields = { endpoint: this.#endpoint, lostSpans: this.#lost };
      this.#log.info(fields, 'traces reach their collector again');
    }
    this.#lost = 0;
  }

  #notThrough(count: number, { message }: Error): void {
    if (this.#lost === 0) {
      const fields = { endpoint: this.#endpoint, reason: message };
      this.#log.warn(
        fields,
        'traces do not reach their collector; fills go on without, and this is not said again',
      );
    }
    this.#lost += count;
  }
}

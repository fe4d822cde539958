/** An OTLP/HTTP collector that keeps what it is sent (https://opentelemetry.io/docs/specs/otlp/#otlphttp). */
import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';
import type { Pair } from './http-api/certificates.ts';

const Value = z.union([
  z.object({ stringValue: z.string() }).transform(({ stringValue }) => stringValue),
  z.object({ intValue: z.union([z.number(), z.string()]) }).transform(({ intValue }) => Number(intValue)),
]);
const Attributes = z
  .array(z.object({ key: z.string(), value: Value }))
  .transform((all) => Object.fromEntries(all.map(({ key, value }) => [key, value])));
const Span = z.object({
  traceId: z.string().regex(/^[0-9a-f]{32}$/),
  spanId: z.string().regex(/^[0-9a-f]{16}$/),
  parentSpanId: z.string().optional(),
  name: z.string(),
  startTimeUnixNano: z.string().transform(BigInt),
  endTimeUnixNano: z.string().transform(BigInt),
  attributes: Attributes,
  status: z.object({ code: z.int(), message: z.string().optional() }),
});
export type Span = z.infer<typeof Span>;
const Request = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: Attributes }),
      scopeSpans: z.array(z.object({ scope: z.looseObject({ name: z.string() }), spans: z.array(Span) })),
    }),
  ),
});

export class Collector {
  readonly spans: Span[] = [];
  readonly resources: Record<string, string | number>[] = [];
  readonly requests: {
    readonly path: string;
    readonly headers: IncomingHttpHeaders;
    readonly text: string;
  }[] = [];
  /** What it answers with; `hang`: nothing until release(). */
  answer: number | 'hang' = 200;
  readonly #server;
  readonly #held: (() => void)[] = [];

  constructor(pair?: Pair) {
    const onRequest = (request: IncomingMessage, response: ServerResponse) => {
      void this.#take(request, response);
    };
    this.#server = pair === undefined ? createServer(onRequest) : createTlsServer(pair, onRequest);
  }

  async listen(): Promise<URL> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    const { port } = this.#server.address() as AddressInfo;
    return new URL(`${'setSecureContext' in this.#server ? 'https' : 'http'}://127.0.0.1:${port}`);
  }

  /** From now on it answers, also what has come before. */
  release(): void {
    this.answer = 200;
    for (const go of this.#held.splice(0)) go();
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += String(chunk);
    this.requests.push({ path: request.url ?? '', headers: request.headers, text });
    if (this.answer === 'hang') await new Promise<void>((resolve) => this.#held.push(resolve));
    const answer = this.answer === 'hang' ? 200 : this.answer;
    if (answer === 200) {
      for (const { resource, scopeSpans } of Request.parse(JSON.parse(text)).resourceSpans) {
        this.resources.push(resource.attributes);
        for (const { spans } of scopeSpans) this.spans.push(...spans);
      }
    }
    response.writeHead(answer, { 'content-type': 'application/json' }).end('{}');
  }
}

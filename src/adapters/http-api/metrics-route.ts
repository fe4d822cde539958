/** /metrics, for Prometheus. */
import { z } from 'zod';
import type { HttpSettings } from '../../core/settings/http-settings.ts';
import type { MetricsText } from '../../provision/ports/watches.ts';
import type { Api } from './fastify-types.ts';
import { OPEN, OR_PROBLEM } from './routes.ts';

export function addMetricsRoute(app: Api, metrics: MetricsText, { metricsOpenTo }: HttpSettings): void {
  const isOpenTo = (address: string) =>
    metricsOpenTo === 'everybody' || (metricsOpenTo === 'loopback' && isLoopback(address));
  app.get(
    '/metrics',
    {
      config: { rights: ['metrics', 'read'], isOpenTo },
      schema: {
        summary: 'Counters and gauges for Prometheus',
        ...{ tags: ['Health'], ...(metricsOpenTo === 'everybody' ? OPEN : {}) },
        response: {
          200: { description: 'Metrics', content: { [metrics.contentType]: { schema: z.string() } } },
          ...OR_PROBLEM,
        },
      },
    },
    async (_request, reply) =>
      reply
        .type(metrics.contentType)
        .serializer((text: string) => text)
        .send(await metrics.render()),
  );
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.replace(/^::ffff:/, '').startsWith('127.');
}

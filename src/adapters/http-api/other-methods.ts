/** A path that exists answers 405 to methods it does not know, with those that it does. */
import type { Api } from './fastify-types.ts';
import { Refusal } from './refusal.ts';

/** For all routes that `addRoutes` adds. */
export function withOtherMethodsRefused(app: Api, addRoutes: () => void): void {
  const methodsOf = new Map<string, string[]>();
  let isGathering = true;
  app.addHook('onRoute', ({ url, method }) => {
    if (isGathering) methodsOf.set(url, [...(methodsOf.get(url) ?? []), ...[method].flat()]);
  });
  addRoutes();
  isGathering = false;
  for (const [url, methods] of methodsOf) {
    const allowed = methods.join(', ');
    app.route({
      url,
      method: app.supportedMethods.filter((method) => !methods.includes(method)),
      schema: { hide: true },
      // Before anybody looks for a body.
      onRequest: (request, reply, done) => {
        void reply.header('allow', allowed);
        const message = `There is no ${request.method} here, but ${allowed}.`;
        done(new Refusal({ status: 405, code: 'METHOD_NOT_ALLOWED', message, hint: 'See: /openapi.json' }));
      },
      handler: () => undefined,
    });
  }
}

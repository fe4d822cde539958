/** /ui: the status page, for people with a browser. It changes nothing. */
import { hostname } from 'node:os';
import type { Caller } from './callers.ts';
import type { Api } from './fastify-types.ts';
import type { RouteNeeds } from './routes.ts';
import type { Asset } from './ui/assets.ts';
import { readAssets } from './ui/assets.ts';
import { documentOf, PAGE_HEADERS, PAGE_TYPE } from './ui/document.ts';
import { refusedBody, refusedTitle } from './ui/refused-page.ts';
import { statusBody, statusTitle } from './ui/status-page.ts';
import { StatusReadings } from './ui/status.ts';
import { View } from './ui/view.ts';

const hide = true;

export function addUiRoutes(app: Api, needs: RouteNeeds): void {
  const { settings, clock, version, hostName = hostname() } = needs;
  const assets = readAssets();
  const readings = new StatusReadings(needs);
  const ways = {
    tokens: settings.tokensFile !== undefined,
    certificates: settings.tls?.clientCaFile !== undefined,
  };
  const page = {
    ...{ headers: PAGE_HEADERS, type: PAGE_TYPE, takesBasic: ways.tokens },
    refused: (refused: Parameters<typeof refusedBody>[0]) =>
      String(
        documentOf(assets, { title: refusedTitle(refused), body: refusedBody(refused, ways), isLive: false }),
      ),
  };
  app.get(
    '/ui',
    { config: { rights: ['read'], page }, schema: { hide, querystring: View } },
    async (request, reply) => {
      const { caller, query: view } = request;
      if (caller === undefined) throw new Error('/ui has no caller');
      const status = await readings.read(view.after, mayAudit(caller));
      const shown = { hostName, version, caller, view, nowMs: clock.nowMs() };
      const title = statusTitle(hostName, status);
      const body = statusBody(status, shown);
      return reply
        .headers(PAGE_HEADERS)
        .type(PAGE_TYPE)
        .send(String(documentOf(assets, { title, body, isLive: true })));
    },
  );
  app.get('/ui/', { schema: { hide } }, (_request, reply) => reply.redirect('/ui', 308));
  for (const asset of [assets.style, assets.live, assets.icon]) addAsset(app, asset);
}

function mayAudit({ verbs }: Caller): boolean {
  return verbs.includes('audit');
}

/** Open to anybody, since the page that says how to get in is made of them too. */
function addAsset(app: Api, { path, type, text }: Asset): void {
  app.get(path, { schema: { hide } }, (_request, reply) =>
    reply
      .headers({ 'cache-control': 'public, max-age=31536000, immutable' })
      .header('cross-origin-resource-policy', 'same-origin')
      .type(type)
      .send(text),
  );
}

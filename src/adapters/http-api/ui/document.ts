/** The frame of every page, and what a browser may do with it: show it, with what comes from here. */
import type { Assets } from './assets.ts';
import type { Html, Part } from './html.ts';
import { html } from './html.ts';

export const PAGE_TYPE = 'text/html; charset=utf-8';

export const PAGE_HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    ...['script-src', 'style-src', 'connect-src', 'img-src'].map((kind) => `${kind} 'self'`),
    ...['base-uri', 'form-action', 'frame-ancestors'].map((kind) => `${kind} 'none'`),
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};

export function documentOf(
  { style, icon, live }: Assets,
  { title, body, isLive }: { readonly title: string; readonly body: Part; readonly isLive: boolean },
): Html {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${title}</title>
        <link rel="icon" type="image/svg+xml" href="${icon.link}" />
        <link rel="stylesheet" href="${style.link}" />
        ${isLive ? html`<script type="module" src="${live.link}"></script>` : undefined}
      </head>
      <body>
        ${body}
      </body>
    </html>`;
}

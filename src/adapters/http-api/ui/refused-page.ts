/** What is shown to whoever does not see the status page: why not, and what to do about it. */
import type { Refused } from '../refusal.ts';
import type { Html, Part } from './html.ts';
import { html } from './html.ts';

const TITLES: Readonly<Record<number, string>> = {
  400: 'This address is not right',
  401: 'Who are you?',
  403: 'Not for you',
  429: 'Too often',
  503: 'Not just now',
  504: 'It took too long',
};

/** Which ways in there are. */
export interface WaysIn {
  readonly tokens: boolean;
  readonly certificates: boolean;
}

export function refusedTitle({ status }: Pick<Refused, 'status'>): string {
  return TITLES[status] ?? 'This has failed';
}

export function refusedBody(refused: Refused, ways: WaysIn): Html {
  const { status, code, message } = refused;
  return html`<main id="main" class="refused">
    <p class="product">libvirt-volume-provisioner</p>
    <h1>${refusedTitle(refused)}</h1>
    <p class="message">${message}</p>
    ${remedy(refused, ways)}
    <p><a href="/ui">Try again</a></p>
    <p class="quiet">${status} <code>${code}</code></p>
  </main>`;
}

function remedy({ status, hint }: Refused, { tokens, certificates }: WaysIn): Part {
  if (status === 401) {
    return html`<h2>How to get in</h2>
      <ul>
        ${
          tokens
            ? html`<li>
                With a token: load this page again, and give the token as the password. The user name does not
                matter. Whoever runs this host makes tokens with <code>sudo lvp token create NAME</code>.
              </li>`
            : undefined
        }
        ${
          certificates
            ? html`<li>
                With a client certificate: import it into the browser, load this page again, and choose it
                when asked.
              </li>`
            : undefined
        }
      </ul>`;
  }
  const said = hint === undefined ? undefined : html`<p>${hint}</p>`;
  if (status !== 403) return said;
  return html`${said}
    <p>
      This page needs the verb <code>read</code>. To come as somebody else, open it in a private window, or
      close all windows of this browser first.
    </p>`;
}

/** A part of the page under a heading of its own, whether or not it could be read. */
import type { Problem } from '../../../core/errors.ts';
import type { Html, Part } from './html.ts';
import { html } from './html.ts';
import type { Known } from './shared-reading.ts';
import { timeOfDay } from './words.ts';

interface About {
  readonly id: string;
  readonly title: string;
  /** Beside the heading. */
  readonly aside?: Part;
}

/** `show` is called with what is known; what is wrong stands above it. */
export function section<T>({ id, title, aside }: About, known: Known<T>, show: (value: T) => Part): Html {
  return html`<section id="${id}" aria-labelledby="${id}-title">
    <div class="heading">
      <h2 id="${id}-title">${title}</h2>
      ${aside}
    </div>
    ${known.problem === undefined ? undefined : notOfNow(known.problem, known.atMs)}
    ${known.value === undefined ? undefined : show(known.value)}
  </section>`;
}

function notOfNow(problem: Problem, atMs: number | undefined): Html {
  return html`<div class="problem">
    ${told(problem)}
    ${atMs === undefined ? undefined : html`<p>What stands here is of ${timeOfDay(atMs)}.</p>`}
  </div>`;
}

/** What is wrong, and what to do. */
export function told({ code, message, hint }: Omit<Problem, 'code'> & { readonly code: string }): Html {
  return html`<p><code class="code">${code}</code> <span class="message" dir="auto">${message}</span></p>
    ${hint === undefined ? undefined : html`<p class="remedy"><strong>What to do:</strong> <span dir="auto">${hint.trim()}</span></p>`}`;
}

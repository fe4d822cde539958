/** What of the status page is looked at, as it stands in its address. */
import { z } from 'zod';
import type { Html } from './html.ts';
import { html } from './html.ts';

const page = z.coerce.number().int().min(1).max(1_000_000).default(1);

export const View = z.object({
  show: z.enum(['all', 'busy', 'attention', 'ready']).default('all'),
  /** Of the volumes. */
  page,
  /** Of what needs attention. */
  problems: page,
  /** The id of a job: older ones are shown. */
  after: z.uuid().optional(),
});
export type View = z.infer<typeof View>;

const DEFAULTS = View.parse({});

/** Where this page is with something else looked at. */
export function linkTo(view: View, change: Partial<View>, anchor: string): string {
  const words = Object.entries({ ...view, ...change }).filter(
    ([key, value]) => value !== undefined && value !== DEFAULTS[key as keyof View],
  );
  const query = new URLSearchParams(
    words.map(([key, value]): [string, string] => [key, String(value)]),
  ).toString();
  return `/ui${query === '' ? '' : `?${query}`}#${anchor}`;
}

export interface Slice<T> {
  readonly shown: readonly T[];
  /** The number of the first one shown, from 1; of the page, and of pages. */
  readonly first: number;
  readonly page: number;
  readonly pages: number;
}

/** One page of a list; the last one if there are fewer pages. */
export function slice<T>(all: readonly T[], wanted: number, perPage: number): Slice<T> {
  const pages = Math.max(1, Math.ceil(all.length / perPage));
  const number = Math.min(wanted, pages);
  const from = (number - 1) * perPage;
  return { shown: all.slice(from, from + perPage), first: from + 1, page: number, pages };
}

/** Links to the pages before and after; nothing if there is but one. */
export function pager(
  { page: current, pages }: Pick<Slice<unknown>, 'page' | 'pages'>,
  what: string,
  to: (page: number) => string,
): Html | undefined {
  if (pages === 1) return undefined;
  const link = (number: number, word: string, rel: string) =>
    number < 1 || number > pages
      ? html`<span class="off">${word}</span>`
      : html`<a rel="${rel}" id="${rel}-${what}" href="${to(number)}">${word}</a>`;
  return html`<nav class="pager" aria-label="Pages of ${what}">
    ${link(current - 1, 'Before', 'prev')} <span>Page ${current} of ${pages}</span>
    ${link(current + 1, 'Next', 'next')}
  </nav>`;
}

/** Volumes that were asked for without a domain. */
import type { Job, Jobs } from '../../../core/protocol/job-protocol.ts';
import type { Html, Part } from './html.ts';
import { html } from './html.ts';
import type { Names } from './names.ts';
import { shownOwner } from './names.ts';
import { section, told } from './section.ts';
import type { Known } from './shared-reading.ts';
import { JOBS_SHOWN } from './status.ts';
import { table } from './table.ts';
import type { View } from './view.ts';
import { linkTo } from './view.ts';
import { badge, image, name, progress, since } from './words.ts';

interface Looked {
  readonly names: Names;
  readonly nowMs: number;
}

export function jobsSection(known: Known<Jobs>, view: View, { names, nowMs }: Looked): Html {
  return section({ id: 'jobs', title: 'Jobs' }, known, ({ jobs }) => {
    const shown = jobs.slice(0, JOBS_SHOWN);
    const oldest = jobs.length > JOBS_SHOWN ? shown.at(-1) : undefined;
    return html`${
      shown.length === 0
        ? html`<p class="quiet">
            ${view.after === undefined ? 'Nobody has asked for a volume without a domain.' : 'There are no older ones.'}
          </p>`
        : jobsTable(shown, { names, nowMs })
    }
    ${ends(view, oldest)}`;
  });
}

function jobsTable(jobs: readonly Job[], { names, nowMs }: Looked): Html {
  return table({
    caption: 'Newest first',
    columns: [
      { label: 'Volume', cell: ({ location }) => html`<span class="path">${name(location)}</span>` },
      { label: 'State', isState: true, cell: ({ state }) => badge(state) },
      { label: 'Details', cell: (job) => detailsOf(job, names) },
      {
        label: 'Image',
        cell: ({ request }) => html`<span class="path quiet">${image(request.image, request.format)}</span>`,
      },
      { label: 'Asked by', cell: ({ by }) => name(by) },
      { label: 'Changed', cell: ({ updatedAt }) => since(updatedAt, nowMs) },
    ],
    rows: jobs,
    idOf: ({ id }) => `job-${id}`,
    newsOf: ({ location, state }) => ({ name: location, state }),
  });
}

function detailsOf(job: Job, names: Names): Part {
  if (job.problem !== undefined) return html`<div class="told">${told(job.problem)}</div>`;
  const { state, location, queuePosition, phase, claimedBy } = job;
  const words = [
    ...(queuePosition === undefined ? [] : [`${queuePosition} before it`]),
    ...(phase === undefined || phase === 'filling' ? [] : [phase]),
  ];
  const bar = state === 'running' ? progress({ ...job, of: location }) : undefined;
  const claim = claimedBy === undefined ? undefined : html`claimed by ${shownOwner(claimedBy, names)}`;
  if (bar === undefined && claim === undefined && words.length === 0) return undefined;
  return html`${bar} <span class="note" dir="auto">${words.join(', ')} ${claim}</span>`;
}

function ends(view: View, oldest: Job | undefined): Html | undefined {
  if (view.after === undefined && oldest === undefined) return undefined;
  return html`<nav class="pager" aria-label="Pages of jobs">
    ${
      view.after === undefined
        ? undefined
        : html`<a id="newest-jobs" href="${linkTo(view, { after: undefined }, 'jobs')}">Newest</a>`
    }
    ${
      oldest === undefined
        ? undefined
        : html`<a id="older-jobs" rel="next" href="${linkTo(view, { after: oldest.id }, 'jobs')}">Older</a>`
    }
  </nav>`;
}

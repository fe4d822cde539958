/** Who has done what of late. */
import { isJob } from '../../../core/owner.ts';
import type { AuditEvent } from '../../../core/protocol/audit-event.ts';
import type { AuditEvents } from '../../../core/protocol/audit-protocol.ts';
import type { Html, Part } from './html.ts';
import { html } from './html.ts';
import type { Names } from './names.ts';
import { shownOwner } from './names.ts';
import { section } from './section.ts';
import type { Known } from './shared-reading.ts';
import { table } from './table.ts';
import type { Tone } from './words.ts';
import { marked, name, since } from './words.ts';

interface Looked {
  readonly names: Names;
  readonly nowMs: number;
}

export function auditSection(known: Known<AuditEvents> | undefined, { names, nowMs }: Looked): Html {
  const about = { id: 'audit', title: 'Audit trail' };
  if (known === undefined) {
    return section(
      about,
      { value: true },
      () => html`<p class="quiet">Only for identities with the verb <code>audit</code>.</p>`,
    );
  }
  return section(about, known, ({ events, more }) => {
    if (events.length === 0) return html`<p class="quiet">Nothing has been written down yet.</p>`;
    // Two may be the same to the letter: they are told apart by how many there are after them.
    const rows = events.map((event, index) => ({
      ...event,
      id: `event-${Date.parse(event.at)}-${sameAfter(events, index)}`,
    }));
    return html`${table({
      caption: 'Newest first',
      columns: [
        { label: 'When', cell: ({ at }) => since(at, nowMs) },
        { label: 'Who', cell: ({ who }) => shownWho(who, names) },
        { label: 'What', cell: ({ what }) => name(what) },
        { label: 'On', cell: (event) => aboutOf(event, names) },
        {
          label: 'Outcome',
          isState: true,
          cell: ({ decision, outcome }) => marked(toneOf(decision, outcome), `${decision}, ${outcome}`),
        },
        {
          label: 'Why',
          cell: ({ problem }) =>
            problem &&
            html`<code class="code">${problem.code}</code> <span dir="auto">${problem.message}</span>`,
        },
      ],
      rows: rows.toReversed(),
      idOf: ({ id }) => id,
    })}
    ${more ? html`<p class="quiet">Older ones: <code>lvp audit</code> on this host shows them.</p>` : undefined}`;
  });
}

function sameAfter(events: readonly AuditEvent[], index: number): number {
  const moment = events[index]?.at;
  return events.slice(index + 1).filter(({ at }) => at === moment).length;
}

function shownWho(who: string, names: Names): Html {
  const [, owner] = /^domain:(.+)$/.exec(who) ?? [];
  return owner === undefined && !isJob(who) ? name(who) : shownOwner(owner ?? who, names);
}

/** The volume, and the domain where that says more. */
function aboutOf({ volume, domain, who }: AuditEvent, names: Names): Part {
  const isOther = domain !== undefined && who !== `domain:${domain}`;
  const owner =
    isOther && (volume === undefined || names.has(domain)) ? shownOwner(domain, names) : undefined;
  if (volume === undefined) return owner;
  return html`<span class="path">${name(volume)}</span> ${owner}`;
}

function toneOf(decision: AuditEvent['decision'], outcome: AuditEvent['outcome']): Tone {
  if (decision !== 'allowed' || outcome === 'failed') return 'bad';
  return { begun: 'busy', done: 'good', refused: 'odd' }[outcome] as Tone;
}

/** Volumes and the domains they are for, and what stands in the way of any. */
import type { DomainStatus, VolumeStatus } from '../../../core/protocol/control-protocol.ts';
import type { Html, Part } from './html.ts';
import { html } from './html.ts';
import { uniqueIds } from './ids.ts';
import { section, told } from './section.ts';
import type { Known } from './shared-reading.ts';
import { table } from './table.ts';
import type { View } from './view.ts';
import { linkTo, pager, slice } from './view.ts';
import { badge, counted, image, name, progress, since } from './words.ts';

const VOLUMES_PER_PAGE = 50;
const PROBLEMS_PER_PAGE = 20;

const KINDS = ['busy', 'attention', 'ready'] as const;

type Problem = DomainStatus['problems'][number];

/** A volume of a domain, or a domain whose annotation says of none. */
interface Row {
  readonly domain: DomainStatus;
  readonly volume: VolumeStatus | undefined;
  readonly kind: (typeof KINDS)[number];
}

/** Something to do for a person. */
interface Trouble {
  readonly domain: DomainStatus;
  readonly target: string | undefined;
  /** Nothing has failed. */
  readonly isHeld: boolean;
  readonly problem: Problem;
}

export interface Volumes {
  readonly rows: readonly Row[];
  readonly troubles: readonly Trouble[];
  /** Why nothing starts and nothing is filled. */
  readonly frozen: Problem | undefined;
}

export function volumesOf(domains: readonly DomainStatus[]): Volumes {
  const rows = domains.flatMap((domain): Row[] =>
    domain.volumes.length === 0
      ? [{ domain, volume: undefined, kind: 'attention' }]
      : domain.volumes.map((volume) => ({ domain, volume, kind: kindOf(domain, volume) })),
  );
  const troubles = domains.flatMap((domain): Trouble[] => [
    ...domain.problems.map((problem) => ({ domain, target: undefined, isHeld: false, problem })),
    ...domain.volumes.flatMap(({ target, state, problem }) =>
      problem === undefined
        ? []
        : [{ domain, target, isHeld: ['held', 'cancelled'].includes(state), problem }],
    ),
  ]);
  return {
    // Names are in order already, and stay so within each kind.
    rows: rows.toSorted((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind)),
    troubles: troubles.filter(({ problem }) => !isFrozen(problem)),
    frozen: troubles.find(({ problem }) => isFrozen(problem))?.problem,
  };
}

/** Said of each of them, and shown once. */
function isFrozen({ code }: Problem): boolean {
  return code === 'FROZEN';
}

function kindOf({ problems }: DomainStatus, { state, problem }: VolumeStatus): Row['kind'] {
  const wrong = [...problems, ...(problem === undefined ? [] : [problem])].filter((one) => !isFrozen(one));
  if (wrong.length > 0 || ['failed', 'refused', 'cancelled'].includes(state)) return 'attention';
  return state === 'ready' ? 'ready' : 'busy';
}

export function frozenBanner({ frozen }: Volumes): Html | undefined {
  if (frozen === undefined) return undefined;
  return html`<section class="problem" aria-label="Frozen">${told(frozen)}</section>`;
}

/** What is wrong now, with the remedy; nothing if all is well. */
export function troublesSection({ troubles }: Volumes, view: View): Html | undefined {
  if (troubles.length === 0) return undefined;
  const { shown, page, pages } = slice(troubles, view.problems, PROBLEMS_PER_PAGE);
  const ids = uniqueIds(
    shown.map(({ domain, target, problem }) => idOf(`trouble-${problem.code}`, domain, target)),
  );
  return html`<section id="attention" aria-labelledby="attention-title">
    <div class="heading">
      <h2 id="attention-title">Needs attention</h2>
      <span class="quiet">${counted(troubles.length, 'problem')}</span>
    </div>
    <ul class="troubles">
      ${shown.map(
        ({ domain, target, isHeld, problem }, index) =>
          html`<li id="${ids[index]}" class="problem ${isHeld ? 'held' : ''}">
            <h3>
              ${name(domain.name)}${target === undefined ? undefined : html` <span class="disk">${target}</span>`}
            </h3>
            ${told(problem)}
          </li>`,
      )}
    </ul>
    ${pager({ page, pages }, 'problems', (problems) => linkTo(view, { problems }, 'attention'))}
  </section>`;
}

export function volumesSection(known: Known<unknown>, volumes: Volumes, view: View, nowMs: number): Html {
  const filters = html`<nav class="filters" aria-label="Volumes by state">
    ${FILTERS.map(([show, label]) => filter(volumes, view, show, label))}
  </nav>`;
  return section({ id: 'volumes', title: 'Volumes', aside: filters }, known, () => {
    const wanted = volumes.rows.filter(({ kind }) => view.show === 'all' || view.show === kind);
    if (wanted.length === 0) return nothing(volumes, view);
    const { shown, first, page, pages } = slice(wanted, view.page, VOLUMES_PER_PAGE);
    const last = first + shown.length - 1;
    return html`${table({
      caption: `${ORDER[view.show]}${pages === 1 ? '' : `; ${first} to ${last} of ${wanted.length}`}`,
      columns: columnsAt(nowMs),
      rows: shown,
      idOf: ({ domain, volume }) => idOf('volume', domain, volume?.target),
      newsOf: ({ domain, volume }) => ({
        name: [domain.name, volume?.target].join(' '),
        state: volume?.state ?? 'refused',
      }),
    })}
    ${pager({ page, pages }, 'volumes', (number) => linkTo(view, { page: number }, 'volumes'))}`;
  });
}

const ORDER: Readonly<Record<View['show'], string>> = {
  all: 'What is under way, then what needs attention, then what is ready',
  ...{ busy: 'By name', attention: 'By name', ready: 'By name' },
};

const FILTERS = [
  ['all', 'All'],
  ['busy', 'Under way'],
  ['attention', 'Needing attention'],
  ['ready', 'Ready'],
] as const;

function filter({ rows }: Volumes, view: View, show: View['show'], label: string): Html {
  const count = show === 'all' ? rows.length : rows.filter(({ kind }) => kind === show).length;
  return html`<a
    id="show-${show}"
    href="${linkTo(view, { show, page: 1 }, 'volumes')}"
    aria-current="${view.show === show ? 'true' : 'false'}"
    >${label} <span class="count">${count}</span></a
  >`;
}

function nothing({ rows }: Volumes, { show }: View): Html {
  if (rows.length > 0 && show !== 'all') return html`<p class="quiet">None of them.</p>`;
  return html`<p class="quiet">
    No domain asks for a volume. Annotate one on this host with: <code>lvp annotate VM DISK IMAGE</code>
  </p>`;
}

function columnsAt(nowMs: number): Parameters<typeof table<Row>>[0]['columns'] {
  return [
    {
      label: 'Domain and disk',
      cell: ({ domain, volume }) =>
        html`${name(domain.name)} ${volume && html`<span class="disk">${volume.target}</span>`}
          <span class="quiet line">${domainState(domain)}</span>`,
    },
    { label: 'State', isState: true, cell: ({ volume }) => badge(volume?.state ?? 'refused') },
    { label: 'Details', cell: detailsOf },
    {
      label: 'Volume, image',
      cell: ({ volume }) =>
        volume &&
        html`${volume.volume === '' ? undefined : html`<span class="path line">${name(`${volume.pool}/${volume.volume}`)}</span>`}
          <span class="path line quiet">${image(volume.image, volume.format)}</span>`,
    },
    { label: 'Changed', cell: ({ volume }) => since(volume?.updatedAt, nowMs) },
  ];
}

function domainState({ active, startWhenReady }: DomainStatus): string {
  return active ? 'running' : startWhenReady ? 'starts when ready' : 'shut off';
}

function detailsOf({ domain, volume }: Row): Part {
  const problem = volume?.problem ?? (volume?.state === 'ready' ? undefined : domain.problems[0]);
  if (volume === undefined || problem !== undefined)
    return problem && html`<code class="code">${problem.code}</code>`;
  const { state, phase, drift, aside } = volume;
  const bar =
    state === 'filling' ? progress({ ...volume, of: `${domain.name} ${volume.target}` }) : undefined;
  const words = [
    ...(phase === undefined || phase === state ? [] : [phase]),
    ...(drift === undefined ? [] : [`differs from the annotation: ${drift}`]),
    ...(aside === undefined ? [] : [`kept aside: ${aside}, what it held before`]),
  ];
  if (bar === undefined && words.length === 0) return undefined;
  return html`${bar} ${words.map((word) => html`<span class="note" dir="auto">${word}</span> `)}`;
}

function idOf(kind: string, { uuid }: DomainStatus, target = ''): string {
  return `${kind}-${uuid}-${target}`;
}

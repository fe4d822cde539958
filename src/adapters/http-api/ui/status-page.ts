/** The status page: all that there is to see of a host, on one page. */
import type { Caller } from '../callers.ts';
import { auditSection } from './audit.ts';
import type { Html } from './html.ts';
import { html } from './html.ts';
import { jobsSection } from './jobs.ts';
import { namesOf } from './names.ts';
import { cacheSection, spaceSection } from './space.ts';
import type { Status } from './status.ts';
import type { View } from './view.ts';
import { linkTo } from './view.ts';
import type { Volumes } from './volumes.ts';
import { frozenBanner, troublesSection, volumesOf, volumesSection } from './volumes.ts';
import { name, timeOfDay } from './words.ts';

/** How long the page waits before it looks again, where the browser lets it. */
const LOOK_WHILE_BUSY_MS = 2_000;
const LOOK_MS = 10_000;

export interface StatusPage {
  readonly hostName: string;
  readonly version: string;
  readonly caller: Caller;
  readonly view: View;
  readonly nowMs: number;
}

export function statusTitle(hostName: string, { domains }: Status): string {
  const count = volumesOf(domains.value ?? []).troubles.length;
  return `${count === 0 ? '' : `(${count}) `}${hostName} · volumes`;
}

export function statusBody(status: Status, page: StatusPage): Html {
  const { view, nowMs } = page;
  const { domains, jobs, space, images, audit } = status;
  const volumes = volumesOf(domains.value ?? []);
  const names = namesOf(domains.value ?? []);
  const isBusy = isUnderWay(status, volumes);
  return html`<a class="skip" href="#main">Skip to what stands here</a>
    ${header(status, page)}
    <main id="main" tabindex="-1" data-look-again-ms="${isBusy ? LOOK_WHILE_BUSY_MS : LOOK_MS}">
      ${frozenBanner(volumes)} ${troublesSection(volumes, view)}
      ${volumesSection(domains, volumes, view, nowMs)} ${jobsSection(jobs, view, { names, nowMs })}
      <div class="beside">${spaceSection(space)} ${cacheSection(images, nowMs)}</div>
      ${auditSection(audit, { names, nowMs })}
    </main>
    ${footer(page)}`;
}

function isUnderWay({ jobs }: Status, { rows }: Volumes): boolean {
  return (
    rows.some(({ volume }) => ['waiting', 'filling', 'publishing'].includes(volume?.state ?? '')) ||
    jobs.value?.jobs.some(({ state }) => state === 'pending' || state === 'running') === true
  );
}

function header({ domains }: Status, { hostName, version, view, nowMs }: StatusPage): Html {
  return html`<header>
    <div>
      <p class="product">libvirt-volume-provisioner ${version}</p>
      <h1>${name(hostName)}</h1>
    </div>
    <div class="looking">
      <p id="as-of">As of ${timeOfDay(domains.atMs ?? nowMs)}</p>
      <p id="live" hidden></p>
      <p>
        <button id="pause" type="button" aria-pressed="false" hidden>Pause</button>
        <a id="again" href="${linkTo(view, {}, 'main').replace('#main', '')}">Look again</a>
      </p>
      <p id="news" class="unseen" role="status"></p>
    </div>
  </header>`;
}

function footer({ caller: { who, verbs } }: StatusPage): Html {
  return html`<footer>
    <p>You are ${name(who)}, who may ${verbs.join(', ')}. Nothing can be changed here.</p>
    <p>On the host: <code>lvp list</code>, <code>lvp status VM</code>, <code>lvp doctor</code></p>
  </footer>`;
}

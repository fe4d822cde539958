/** What is left on this host: in its volume groups and in its cache. */
import type { CachedImages } from '../../../core/protocol/image-protocol.ts';
import { approximateSize } from '../../../core/size.ts';
import type { GroupSpace } from '../../../provision/ports/verbs.ts';
import type { Html } from './html.ts';
import { html } from './html.ts';
import { section } from './section.ts';
import type { Known } from './shared-reading.ts';
import { table } from './table.ts';
import { name, since } from './words.ts';

const GROUPS_SHOWN = 50;
const IMAGES_SHOWN = 20;

/** A part of a whole, in bytes. */
interface Part {
  readonly kind: 'used' | 'promised' | 'kept' | 'left';
  readonly label: string;
  readonly bytes: number;
}

export function spaceSection(known: Known<readonly GroupSpace[]>): Html {
  return section({ id: 'space', title: 'Space' }, known, (groups) => [
    ...groups.slice(0, GROUPS_SHOWN).map(
      (group) =>
        html`<div class="group">
          <h3>
            <span class="path">${name(group.vg)}</span>
            <span class="quiet">${approximateSize(group.sizeBytes)}</span>
          </h3>
          ${bar(partsOf(group), group.sizeBytes)}
        </div>`,
    ),
    ...(groups.length > GROUPS_SHOWN ? [more(groups.length - GROUPS_SHOWN, 'vgs')] : []),
  ]);
}

function partsOf({ sizeBytes, freeBytes, reservedBytes, keepFreeBytes }: GroupSpace): readonly Part[] {
  const promised = Math.min(reservedBytes, freeBytes);
  const kept = Math.min(keepFreeBytes, freeBytes - promised);
  const parts: readonly Part[] = [
    { kind: 'used', label: 'used', bytes: sizeBytes - freeBytes },
    { kind: 'promised', label: 'promised to fills', bytes: promised },
    { kind: 'kept', label: 'kept free', bytes: kept },
    { kind: 'left', label: 'left for volumes', bytes: freeBytes - promised - kept },
  ];
  // What there is none of is not worth a line, but for the two that everybody looks for.
  return parts.filter(({ kind, bytes }) => bytes > 0 || kind === 'used' || kind === 'left');
}

/** The words say all that the picture does. */
function bar(parts: readonly Part[], wholeBytes: number): Html {
  let from = 0;
  const pieces = parts.map(({ kind, bytes }) => {
    const width = wholeBytes === 0 ? 0 : (bytes / wholeBytes) * 100;
    from += width;
    return html`<rect
      class="${kind}"
      x="${(from - width).toFixed(2)}%"
      width="${width.toFixed(2)}%"
      height="100%"
    />`;
  });
  return html`<svg class="bar" aria-hidden="true" focusable="false">${pieces}</svg>
    <ul class="parts">
      ${parts.map(
        ({ kind, label, bytes }) =>
          html`<li class="${kind}">${approximateSize(bytes)} <span>${label}</span></li>`,
      )}
    </ul>`;
}

export function cacheSection(known: Known<CachedImages>, nowMs: number): Html {
  return section({ id: 'cache', title: 'Cache' }, known, ({ images, sizeMaxBytes }) => {
    const usedBytes = images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const newest = images.toSorted((a, b) => b.usedAt.localeCompare(a.usedAt)).slice(0, IMAGES_SHOWN);
    return html`${
      sizeMaxBytes === 0
        ? html`<p class="quiet">
            The cache is off (<code>cache.size_max</code>), in use ${approximateSize(usedBytes)}.
          </p>`
        : bar(
            [
              { kind: 'used', label: 'in use', bytes: Math.min(usedBytes, sizeMaxBytes) },
              { kind: 'left', label: 'left', bytes: Math.max(0, sizeMaxBytes - usedBytes) },
            ],
            sizeMaxBytes,
          )
    }
    ${newest.length === 0 ? undefined : imagesTable(newest, nowMs)}
    ${images.length > newest.length ? more(images.length - newest.length, 'lvp image ls') : undefined}`;
  });
}

function imagesTable(images: CachedImages['images'], nowMs: number): Html {
  return table({
    caption: 'Last used first',
    columns: [
      { label: 'Image', cell: ({ image }) => html`<span class="path">${name(image)}</span>` },
      { label: 'Size', cell: ({ sizeBytes }) => approximateSize(sizeBytes) },
      { label: 'Last use', cell: ({ inUse, usedAt }) => (inUse ? 'now' : since(usedAt, nowMs)) },
    ],
    rows: images,
    idOf: ({ sha256 }) => `image-${sha256}`,
  });
}

function more(count: number, command: string): Html {
  return html`<p class="quiet">${count} more: <code>${command}</code> on this host shows them.</p>`;
}

/** Domains and volumes as text. Pure: what is a terminal and what is coloured is for the caller. */
import { styleText } from 'node:util';
import { approximateDuration } from '../../core/duration.ts';
import { describeProblem } from '../../core/errors.ts';
import type { DomainStatus, VolumeStatus } from '../../core/protocol/control-protocol.ts';
import { problemOf } from '../../core/protocol/control-protocol.ts';
import { approximateSize } from '../../core/size.ts';
import type { Look } from './output.ts';
import { table } from './table.ts';

const BAR_WIDTH = 24;
type Style = 'green' | 'red' | 'yellow' | 'cyan';
const STATE_STYLE: Readonly<Record<VolumeStatus['state'], Style>> = {
  ready: 'green',
  failed: 'red',
  refused: 'red',
  cancelled: 'yellow',
  held: 'yellow',
  planned: 'cyan',
  waiting: 'cyan',
  filling: 'cyan',
  publishing: 'cyan',
};

/** One row for each volume of each domain; `isLive`: with bars, and without what does not change. */
export function listText(domains: readonly DomainStatus[], { colour, width }: Look, isLive = false): string {
  if (domains.length === 0)
    return 'No domain asks for a volume. Annotate one with: lvp annotate VM DISK IMAGE';
  const heading = isLive ? LIVE_HEADING : LIST_HEADING;
  const rows = domains.flatMap((domain) => {
    const found = domain.volumes.map((volume) =>
      isLive ? liveRow(domain, volume) : volumeRow(domain, volume),
    );
    return found.length > 0 ? found : [[domain.name, '-', 'refused', '', '-', '-']];
  });
  return [
    ...frozenLines(domains),
    table([heading, ...rows], { width, whole: isLive ? [3] : [], paint: paintState(colour, styleOfVolume) }),
  ].join('\n');
}

const LIST_HEADING = ['DOMAIN', 'DISK', 'STATE', 'DONE', 'VOLUME', 'IMAGE'];
const LIVE_HEADING = ['DOMAIN', 'DISK', 'STATE', 'DONE', 'RATE', 'LEFT'];

function volumeRow(domain: DomainStatus, volume: VolumeStatus): string[] {
  const place = `${volume.pool}/${volume.volume}`;
  return [domain.name, volume.target, volume.state, percentOf(volume), place, volume.image];
}

function liveRow(domain: DomainStatus, volume: VolumeStatus): string[] {
  const { rateBytesPerSecond: rate, secondsLeft, state, bytesDone, bytesTotal } = volume;
  const isShown = state === 'filling' && bytesDone !== undefined && Boolean(bytesTotal);
  return [
    ...[domain.name, volume.target, state],
    isShown ? `${bar(bytesDone, bytesTotal ?? 0, BAR_WIDTH / 2)} ${percentOf(volume)}` : percentOf(volume),
    !isShown || rate === undefined ? '' : `${approximateSize(rate)}/s`,
    !isShown || secondsLeft === undefined ? '' : approximateDuration(secondsLeft),
  ];
}

/** Said of each of them, and here once. */
function frozenLines(domains: readonly DomainStatus[]): readonly string[] {
  const problems = domains.flatMap((domain) => domain.problems);
  return problems
    .filter(({ code }) => code === 'FROZEN')
    .slice(0, 1)
    .map(({ message }) => message);
}

/** For table(): the third column is a state, and coloured as such. */
export function paintState(colour: boolean, styleOf: (state: string) => Style | undefined) {
  return (padded: string, cell: string, column: number): string =>
    column === 2 && colour ? paint(padded, styleOf(cell)) : padded;
}

/** A domain with all that is known about it. */
export function domainText(domain: DomainStatus, { colour }: Pick<Look, 'colour'>): string {
  const heading = [
    `${domain.name} (${domain.uuid}), ${domain.active ? 'running' : 'shut off'}`,
    ...(domain.startWhenReady ? ['starts when its volumes are ready'] : []),
  ].join(', ');
  const problems = domain.problems.map(
    (problem) => `  problem: ${describeProblem(problemOf({ error: problem }))}`,
  );
  return [heading, ...problems, ...domain.volumes.flatMap((volume) => volumeLines(volume, colour))].join(
    '\n',
  );
}

function volumeLines(volume: VolumeStatus, colour: boolean): string[] {
  const details = [
    `${volume.pool}/${volume.volume} from ${volume.image} (${volume.format})`,
    ...(volume.sha256 === undefined ? [] : [`sha256 ${volume.sha256}`]),
    ...(volume.drift === undefined ? [] : [`differs from the annotation: ${volume.drift}`]),
    ...thinLine(volume),
    ...(volume.key === undefined ? [] : [`encrypted, opened by ${volume.key}`]),
    ...(volume.aside === undefined ? [] : [`kept aside: ${volume.aside}, what it held before`]),
    ...(volume.problem === undefined
      ? []
      : [`problem: ${describeProblem(problemOf({ error: volume.problem }))}`]),
  ];
  return [`  ${progressLine(volume, colour)}`, ...details.map((line) => `      ${line}`)];
}

function thinLine({ pool, thinPool, cloneOf }: VolumeStatus): string[] {
  if (thinPool === undefined) return [];
  return [`thin, in ${pool}/${thinPool}${cloneOf === undefined ? '' : `, a clone of ${cloneOf}`}`];
}

/** `vda filling [#####-------] 45 %, 1.2 of 2.7 GiB, 812 MiB/s, 2 s left` */
export function progressLine(volume: VolumeStatus, colour: boolean): string {
  const state = paint(volume.state, colour ? styleOfVolume(volume.state) : undefined);
  const { bytesDone, bytesTotal } = volume;
  // Before the size of the image is known there is no way to be at the end of.
  if (volume.state !== 'filling' || bytesDone === undefined || !bytesTotal) {
    return [`${volume.target} ${state}`, ...phaseOf(volume)].join(', ');
  }
  const parts = [
    `${bar(bytesDone, bytesTotal)} ${percentOf(volume)}`,
    `${approximateSize(bytesDone)} of ${approximateSize(bytesTotal)}`,
    ...(volume.rateBytesPerSecond === undefined ? [] : [`${approximateSize(volume.rateBytesPerSecond)}/s`]),
    ...(volume.secondsLeft === undefined ? [] : [`${approximateDuration(volume.secondsLeft)} left`]),
    ...phaseOf(volume),
  ];
  return `${volume.target} ${state} ${parts.join(', ')}`;
}

/** Said only where it says more than the state. */
function phaseOf({ phase, state }: VolumeStatus): string[] {
  return phase === undefined || phase === state ? [] : [phase];
}

/** `[#####-------] 45 %, 1.2 GiB of 2.7 GiB, 812 MiB/s` */
export function barLine(done: number, total: number, rateBytesPerSecond: number | undefined): string {
  const percent = total === 0 ? 100 : Math.floor((Math.min(done, total) / total) * 100);
  const rate = rateBytesPerSecond === undefined ? '' : `, ${approximateSize(rateBytesPerSecond)}/s`;
  return `${bar(done, total)} ${percent} %, ${approximateSize(done)} of ${approximateSize(total)}${rate}`;
}

function bar(done: number, total: number, width = BAR_WIDTH): string {
  const full = total === 0 ? width : Math.floor((Math.min(done, total) / total) * width);
  return `[${'#'.repeat(full)}${'-'.repeat(width - full)}]`;
}

function percentOf({ bytesDone, bytesTotal }: VolumeStatus): string {
  if (bytesDone === undefined || bytesTotal === undefined || bytesTotal === 0) return '';
  return `${Math.floor((Math.min(bytesDone, bytesTotal) / bytesTotal) * 100)} %`;
}

export function paint(text: string, style: Style | undefined): string {
  return style === undefined ? text : styleText(style, text, { validateStream: false });
}

function styleOfVolume(state: string): Style | undefined {
  return state in STATE_STYLE ? STATE_STYLE[state as VolumeStatus['state']] : undefined;
}

/** Domains and volumes as text. Pure: what is a terminal and what is coloured is for the caller. */
import { styleText } from 'node:util';
import type { DomainStatus, VolumeStatus } from '../core/control-protocol.ts';
import { describeProblem } from '../core/errors.ts';
import { approximateSize } from '../core/size.ts';
import { problemOf } from '../core/control-protocol.ts';

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

/** One row for each volume of each domain. */
export function listTable(domains: readonly DomainStatus[], colour: boolean): string {
  const rows = domains.flatMap((domain) => {
    const names = domain.volumes.map((volume) => volumeRow(domain, volume));
    return names.length > 0 ? names : [[domain.name, '-', 'refused', '', '-', '-']];
  });
  return table([['DOMAIN', 'DISK', 'STATE', 'DONE', 'VOLUME', 'IMAGE'], ...rows], colour);
}

function volumeRow(domain: DomainStatus, volume: VolumeStatus): string[] {
  const place = `${volume.pool}/${volume.volume}`;
  return [domain.name, volume.target, volume.state, percentOf(volume), place, volume.image];
}

/** The third column is a state, and coloured as such. */
export function table(
  rows: readonly (readonly string[])[],
  colour: boolean,
  styleOf: (state: string) => Style | undefined = styleOfVolume,
): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const padded = column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0);
          return column === 2 && colour ? paint(padded, styleOf(cell)) : padded;
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** A domain with all that is known about it. */
export function domainText(domain: DomainStatus, colour: boolean): string {
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
    ...(volume.secondsLeft === undefined ? [] : [`${duration(volume.secondsLeft)} left`]),
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

function bar(done: number, total: number): string {
  const full = total === 0 ? BAR_WIDTH : Math.floor((Math.min(done, total) / total) * BAR_WIDTH);
  return `[${'#'.repeat(full)}${'-'.repeat(BAR_WIDTH - full)}]`;
}

function percentOf({ bytesDone, bytesTotal }: VolumeStatus): string {
  if (bytesDone === undefined || bytesTotal === undefined || bytesTotal === 0) return '';
  return `${Math.floor((Math.min(bytesDone, bytesTotal) / bytesTotal) * 100)} %`;
}

export function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

export function paint(text: string, style: Style | undefined): string {
  return style === undefined ? text : styleText(style, text, { validateStream: false });
}

function styleOfVolume(state: string): Style | undefined {
  return state in STATE_STYLE ? STATE_STYLE[state as VolumeStatus['state']] : undefined;
}

/** Sizes, times and how far something is, in the words of lvp. */
import { approximateDuration } from '../../../core/duration.ts';
import type { VolumeStatus } from '../../../core/protocol/control-protocol.ts';
import type { Job } from '../../../core/protocol/job-protocol.ts';
import { approximateSize } from '../../../core/size.ts';
import type { Html } from './html.ts';
import { html } from './html.ts';

/** How a state is to be taken: it is shown by colour and shape beside its word. */
export type Tone = 'good' | 'busy' | 'waits' | 'odd' | 'bad';

const TONES: Readonly<Record<VolumeStatus['state'] | Job['state'], Tone>> = {
  ...{ ready: 'good', completed: 'good' },
  ...{ filling: 'busy', publishing: 'busy', running: 'busy' },
  ...{ planned: 'waits', waiting: 'waits', pending: 'waits' },
  ...{ held: 'odd', cancelled: 'odd' },
  ...{ failed: 'bad', refused: 'bad' },
};

export function badge(state: VolumeStatus['state'] | Job['state']): Html {
  return marked(TONES[state], state);
}

export function marked(tone: Tone, word: string): Html {
  return html`<span class="mark ${tone}">${word}</span>`;
}

/** A name that others have chosen: whatever it is written in, it does not turn round what stands beside it. */
export function name(text: string): Html {
  return html`<bdi>${text}</bdi>`;
}

/** What it is read as is said where its name says something else. */
export function image(key: string, format: VolumeStatus['format']): Html {
  return html`${name(key)}${key.endsWith(`.${format}`) ? undefined : `, ${format}`}`;
}

/** So long ago, with the moment itself for those who ask. */
export function since(moment: string | undefined, nowMs: number): Html | undefined {
  const ms = moment === undefined ? NaN : Date.parse(moment);
  if (Number.isNaN(ms)) return undefined;
  const at = new Date(ms).toISOString();
  // Down to the seconds, for up is the future.
  const seconds = Math.max(0, Math.floor((nowMs - ms) / 1_000));
  return html`<time datetime="${at}" title="${at}">${approximateDuration(seconds)} ago</time>`;
}

/** `18:46:54`, of UTC as in logs. */
export function timeOfDay(ms: number): Html {
  const at = new Date(ms).toISOString();
  return html`<time datetime="${at}">${at.slice(11, 19)} UTC</time>`;
}

interface Progress {
  readonly of: string;
  readonly bytesDone?: number | undefined;
  readonly bytesTotal?: number | undefined;
  readonly rateBytesPerSecond?: number | undefined;
  readonly secondsLeft?: number | undefined;
}

/** A bar, and the same in words; undefined before it is known how much there is to do. */
export function progress({ of, bytesDone, bytesTotal, ...pace }: Progress): Html | undefined {
  if (bytesDone === undefined || !bytesTotal) return undefined;
  const done = Math.min(bytesDone, bytesTotal);
  const percent = Math.floor((done / bytesTotal) * 100);
  const { rateBytesPerSecond: rate, secondsLeft } = pace;
  const words = [
    `${percent} %`,
    `${approximateSize(done)} of ${approximateSize(bytesTotal)}`,
    ...(rate === undefined ? [] : [`${approximateSize(rate)}/s`]),
    ...(secondsLeft === undefined ? [] : [`${approximateDuration(secondsLeft)} left`]),
  ];
  return html`<progress max="100" value="${percent}" aria-label="${of}">${percent} %</progress>
    <span class="pace">${words.map((word) => word.replaceAll(' ', '\u00a0')).join(', ')}</span>`;
}

/** `1 volume`, `2 volumes`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** The reader of dm-log-writes and the states it makes of a log, on logs written here by hand. */
import { describe, expect, it } from 'vitest';
import { Random } from '../simulation/random.ts';
import { crashStates, readWriteLog } from './write-log.ts';

const SECTOR = 512;
const FLUSH = 1;
const FUA = 2;
const DISCARD = 4;
const MARK = 8;

interface Written {
  readonly sector?: number;
  readonly text?: string;
  readonly flags?: number;
  readonly discarded?: number;
}

/** A log as the kernel lays it out. Each write is one sector that begins with its text. */
function logOf(...all: readonly Written[]): Buffer {
  const head = Buffer.alloc(SECTOR);
  head.writeBigUInt64LE(0x6a736677736872n, 0);
  head.writeBigUInt64LE(1n, 8);
  head.writeBigUInt64LE(BigInt(all.length), 16);
  head.writeUInt32LE(SECTOR, 24);
  const parts = [head];
  for (const { sector = 0, text = '', flags = 0, discarded = 0 } of all) {
    const isMark = flags === MARK;
    const sectors = discarded > 0 ? discarded : text === '' || isMark ? 0 : 1;
    const entry = Buffer.alloc(SECTOR);
    entry.writeBigUInt64LE(BigInt(sector), 0);
    entry.writeBigUInt64LE(BigInt(sectors), 8);
    entry.writeBigUInt64LE(BigInt(flags), 16);
    if (isMark) {
      entry.writeBigUInt64LE(BigInt(text.length), 24);
      entry.write(text, 32);
    }
    parts.push(entry);
    if (sectors === 1 && discarded === 0) {
      const data = Buffer.alloc(SECTOR, '.');
      data.write(text);
      parts.push(data);
    }
  }
  return Buffer.concat(parts);
}

/** The first letter of each sector. */
const show = (disk: Buffer): string =>
  Array.from({ length: disk.length / SECTOR }, (_, index) => disk.toString('latin1', index * SECTOR)[0]).join(
    '',
  );

/** The disk in each state, looked at while it is there. */
function seenIn(log: Buffer, options: { early?: number; randomStates?: number } = {}): string[] {
  const { early = 0, randomStates = 0 } = options;
  const random = new Random(7);
  const disk = Buffer.alloc(4 * SECTOR, '-');
  const isEarly = (offsetBytes: number) => offsetBytes < early * SECTOR;
  const seen: string[] = [];
  for (const state of crashStates(disk, readWriteLog(log), {
    isEarly,
    randomStates,
    random: () => random.next(),
  }))
    seen.push(show(state.disk));
  return seen;
}

describe('a log of writes', () => {
  it('is read entry by entry, with bytes, flags and marks', () => {
    const log = logOf(
      { sector: 3, text: 'a' },
      { flags: FLUSH },
      { text: 'half way', flags: MARK },
      { sector: 1, flags: DISCARD, discarded: 2 },
      { sector: 0, text: 'b', flags: FUA },
    );
    const entries = readWriteLog(log);
    expect(entries).toMatchObject([
      { kind: 'write', offsetBytes: 3 * SECTOR, isFlush: false, isFua: false },
      { kind: 'write', isFlush: true, isFua: false },
      { kind: 'mark', text: 'half way' },
      { kind: 'discard', offsetBytes: SECTOR, lengthBytes: 2 * SECTOR },
      { kind: 'write', offsetBytes: 0, isFlush: false, isFua: true },
    ]);
    expect(entries.map((entry) => (entry.kind === 'write' ? entry.bytes.length : -1))).toEqual([
      SECTOR,
      0,
      -1,
      -1,
      SECTOR,
    ]);
  });

  it('that is none, or cut short, is an error', () => {
    expect(() => readWriteLog(Buffer.alloc(SECTOR))).toThrow('not a log');
    const log = logOf({ text: 'a' });
    expect(() => readWriteLog(log.subarray(0, -1))).toThrow('ends before its entry 0 of 1');
  });
});

describe('the states after a power cut', () => {
  it('are what each flush made durable', () => {
    const log = logOf(
      { sector: 0, text: 'a' },
      { sector: 1, text: 'b' },
      { flags: FLUSH },
      { sector: 2, text: 'c' },
    );
    expect(seenIn(log)).toEqual(['----', 'ab--', 'abc-']);
  });

  it('have a write with FUA by itself', () => {
    const log = logOf({ sector: 3, text: 'f', flags: FUA }, { sector: 0, text: 'a' }, { flags: FLUSH });
    expect(seenIn(log)).toEqual(['----', '---f', 'a--f']);
  });

  it('also have the early writes of a time without the others, as far as they had come', () => {
    // Data goes to sector 2, what points to it to sectors 0 and 1: nothing was synced in between.
    const unsynced = logOf(
      { sector: 2, text: 'd' },
      { sector: 0, text: 'm' },
      { sector: 1, text: 'n' },
      { flags: FLUSH },
    );
    expect(seenIn(unsynced, { early: 2 })).toEqual(['----', 'm---', 'mn--', 'mnd-']);
    const synced = logOf(
      { sector: 2, text: 'd' },
      { flags: FLUSH },
      { sector: 0, text: 'm' },
      { flags: FLUSH },
    );
    expect(seenIn(synced, { early: 2 })).toEqual(['----', '--d-', 'm-d-', 'm-d-']);
  });

  it('also are subsets of what was written since, which leave no trace in the next ones', () => {
    const log = logOf(
      { sector: 0, text: 'a' },
      { sector: 1, text: 'b' },
      { sector: 0, text: 'c' },
      { flags: FLUSH },
    );
    const seen = seenIn(log, { randomStates: 40 });
    expect(seen.at(-1)).toBe('cb--');
    expect(new Set(seen)).toEqual(new Set(['----', 'a---', '-b--', 'ab--', 'c---', 'cb--']));
  });

  it('read as something else where they were discarded', () => {
    const log = logOf(
      { sector: 0, text: 'a' },
      { sector: 0, flags: DISCARD, discarded: 1 },
      { flags: FLUSH },
    );
    expect(seenIn(log).at(-1)).toBe('Z---');
  });
});

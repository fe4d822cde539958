/**
 * What a disk may hold after a power cut, by the log that device-mapper's log-writes target has kept of it:
 * everything up to a flush, and of what was written since then any part.
 * https://docs.kernel.org/admin-guide/device-mapper/log-writes.html
 *
 * The log is a sector that says how many entries there are, and then each entry: a sector about it and the bytes
 * written. Writes are logged when they are flushed, in the order in which they completed.
 */

const MAGIC = 0x6a736677736872n;
const VERSION = 1n;
const FLUSH = 1n;
const FUA = 2n;
const DISCARD = 4n;
const MARK = 8n;
const BIO_SECTOR_BYTES = 512;
const ENTRY_BYTES = 32;
/** A discarded range may read as anything. */
const DISCARDED = 0x5a;

export type LogEntry =
  | {
      readonly kind: 'write';
      readonly offsetBytes: number;
      readonly bytes: Buffer;
      /** Everything before it is on the disk when it completes. */
      readonly isFlush: boolean;
      /** It is on the disk itself when it completes. */
      readonly isFua: boolean;
    }
  | { readonly kind: 'discard'; readonly offsetBytes: number; readonly lengthBytes: number }
  | { readonly kind: 'mark'; readonly text: string };

/** The entries of a log; an Error if it is none, or shorter than it says. The bytes are views into it. */
export function readWriteLog(log: Buffer): LogEntry[] {
  if (log.readBigUInt64LE(0) !== MAGIC || log.readBigUInt64LE(8) !== VERSION) {
    throw new Error('this is not a log of writes');
  }
  const count = Number(log.readBigUInt64LE(16));
  const sectorBytes = log.readUInt32LE(24);
  if (sectorBytes % BIO_SECTOR_BYTES !== 0) throw new Error(`sectors of ${sectorBytes} bytes`);
  const entries: LogEntry[] = [];
  let at = sectorBytes;
  for (let index = 0; index < count; index++) {
    const [sector = 0n, sectors = 0n, flags = 0n, textBytes = 0n] = [0, 8, 16, 24].map((field) =>
      log.readBigUInt64LE(at + field),
    );
    const offsetBytes = Number(sector) * sectorBytes;
    const lengthBytes = Number(sectors) * sectorBytes;
    const from = at + sectorBytes;
    at = from;
    if ((flags & MARK) !== 0n) {
      const begin = from - sectorBytes + ENTRY_BYTES;
      entries.push({ kind: 'mark', text: log.toString('latin1', begin, begin + Number(textBytes)) });
    } else if ((flags & DISCARD) !== 0n) {
      entries.push({ kind: 'discard', offsetBytes, lengthBytes });
    } else {
      at = from + lengthBytes;
      if (at > log.length) throw new Error(`the log ends before its entry ${index} of ${count}`);
      const bytes = log.subarray(from, at);
      const isFlush = (flags & FLUSH) !== 0n;
      entries.push({ kind: 'write', offsetBytes, bytes, isFlush, isFua: (flags & FUA) !== 0n });
    }
  }
  return entries;
}

/** One of the states a power cut may leave. */
export interface CrashState {
  /** The disk's bytes, until the next state is asked for. */
  readonly disk: Buffer;
  /** How it came about, to find it again. */
  readonly what: string;
}

export interface CrashOptions {
  /** Writes that an unlucky disk stores at once, and all others of the same time not at all. */
  readonly isEarly: (offsetBytes: number) => boolean;
  /** Subsets of what was written since the last flush, for each flush. */
  readonly randomStates: number;
  /** From 0 to below 1. */
  readonly random: () => number;
}

/**
 * Changes the disk from state to state. For each flush: what it made durable; then, one after the other, the
 * early ones of the writes that follow it, without the others; then random subsets of those writes. A write with
 * FUA is durable by itself.
 */
export function* crashStates(
  disk: Buffer,
  entries: readonly LogEntry[],
  options: CrashOptions,
): Generator<CrashState> {
  yield { disk, what: 'nothing was written' };
  let durable = 0;
  while (durable < entries.length) {
    const flush = entries.findIndex((entry, index) => index >= durable && isBarrier(entry));
    const end = flush < 0 ? entries.length : flush + 1;
    const epoch = entries.slice(durable, end);
    yield* unluckyStates(disk, epoch, durable, options);
    yield* randomSubsets(disk, epoch, durable, options);
    for (const entry of epoch) apply(disk, entry);
    durable = end;
    yield { disk, what: `all up to entry ${durable}` };
  }
}

function isBarrier(entry: LogEntry): boolean {
  return entry.kind === 'write' && (entry.isFlush || entry.isFua);
}

function* unluckyStates(
  disk: Buffer,
  epoch: readonly LogEntry[],
  from: number,
  { isEarly }: CrashOptions,
): Generator<CrashState> {
  const undo: (() => void)[] = [];
  for (const [index, entry] of epoch.entries()) {
    if (entry.kind !== 'write' || entry.bytes.length === 0 || !isEarly(entry.offsetBytes)) continue;
    undo.push(apply(disk, entry));
    yield { disk, what: `all up to entry ${from}, and the early ones up to ${from + index + 1}` };
  }
  for (const restore of undo.reverse()) restore();
}

function* randomSubsets(
  disk: Buffer,
  epoch: readonly LogEntry[],
  from: number,
  { random, randomStates }: CrashOptions,
): Generator<CrashState> {
  if (epoch.length < 2) return;
  for (let count = 0; count < randomStates; count++) {
    const share = random();
    const chosen = epoch.map((_, index) => index).filter(() => random() < share);
    const undo = chosen.map((index) => applyAt(disk, epoch, index));
    yield { disk, what: `all up to entry ${from}, and of the next ones +${chosen.join(' +')}` };
    for (const restore of undo.reverse()) restore();
  }
}

function applyAt(disk: Buffer, epoch: readonly LogEntry[], index: number): () => void {
  const entry = epoch[index];
  return entry === undefined ? () => undefined : apply(disk, entry);
}

/** Returns how to take it back. */
function apply(disk: Buffer, entry: LogEntry): () => void {
  if (entry.kind === 'mark') return () => undefined;
  const { offsetBytes } = entry;
  const lengthBytes = entry.kind === 'write' ? entry.bytes.length : entry.lengthBytes;
  const before = Buffer.from(disk.subarray(offsetBytes, offsetBytes + lengthBytes));
  if (entry.kind === 'write') entry.bytes.copy(disk, offsetBytes);
  else disk.fill(DISCARDED, offsetBytes, offsetBytes + lengthBytes);
  return () => {
    before.copy(disk, offsetBytes);
  };
}

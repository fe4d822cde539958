/** Searches the memory of another process that belongs to us. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

const STEP_BYTES = 2 ** 24;
/** Into so many pieces it is cut. Memory that was given back has lost the first bytes of what was in it. */
const PIECE_BYTES = 16;

/** Where one of the pieces of the secret stands, each as what the kernel says of that memory. */
export function placesInMemory(pid: number, secret: Buffer): string[] {
  const pieces = Array.from({ length: Math.floor(secret.length / PIECE_BYTES) }, (_, index) =>
    secret.subarray(index * PIECE_BYTES, (index + 1) * PIECE_BYTES),
  );
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    return writableSpans(pid)
      .filter(({ begin, end }) => {
        for (let at = begin; at < end; at += STEP_BYTES - secret.length) {
          const step = Buffer.alloc(Math.min(STEP_BYTES, end - at));
          const got = step.subarray(0, readSync(memory, step, 0, step.length, at));
          if (pieces.some((piece) => got.includes(piece))) return true;
        }
        return false;
      })
      .map(({ line }) => line);
  } finally {
    closeSync(memory);
  }
}

function writableSpans(pid: number) {
  return readFileSync(`/proc/${pid}/maps`, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, begin, end] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
      if (begin === undefined || end === undefined) return [];
      return [{ line, begin: Number.parseInt(begin, 16), end: Number.parseInt(end, 16) }];
    });
}

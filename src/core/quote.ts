/**
 * Text from outside, made fit for a message: short, on one line, and without characters that move the
 * cursor or turn the reading direction of a terminal.
 */
const QUOTED_LENGTH_MAX = 60;

export function quote(value: string): string {
  // A slice first, so that a megabyte of rubbish costs no more than a line of it.
  const chars = Array.from(value.slice(0, 2 * QUOTED_LENGTH_MAX + 2));
  const shown = chars.slice(0, QUOTED_LENGTH_MAX).map(escapeChar).join('');
  return `"${shown}${chars.length > QUOTED_LENGTH_MAX ? '…' : ''}"`;
}

function escapeChar(char: string): string {
  if (char === '"' || char === '\\') return `\\${char}`;
  if (!/[\p{C}\p{Zl}\p{Zp}]/u.test(char)) return char;
  return `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`;
}

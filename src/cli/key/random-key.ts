/** A new key. */
import { randomFillSync } from 'node:crypto';

/** 64 random bytes, as many as the key of the cipher has. */
const RANDOM_BYTES = 64;
const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');

/** As base64 text in memory of its own, which the caller wipes: never a string, which could not be overwritten. */
export function randomKey(): Buffer {
  const random = Buffer.alloc(RANDOM_BYTES);
  try {
    return base64Of(randomFillSync(random));
  } finally {
    random.fill(0);
  }
}

/** What Buffer.toString('base64') gives, without the string. */
export function base64Of(bytes: Uint8Array): Buffer {
  const text = Buffer.alloc(Math.ceil(bytes.length / 3) * 4, '=');
  for (let at = 0, to = 0; at < bytes.length; at += 3, to += 4) {
    const count = Math.min(3, bytes.length - at);
    const group = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    for (let digit = 0; digit <= count; digit += 1) {
      text[to + digit] = ALPHABET[(group >>> (18 - 6 * digit)) & 63] ?? 0;
    }
  }
  return text;
}

/** What is said of keys on the command line. */
import { readSync } from 'node:fs';
import { ProvisionError } from '../../core/errors.ts';
import type { KeyReference } from '../../core/key/key-reference.ts';
import { isKeyShaped, KEY_BYTES_MAX, parseKeyReference } from '../../core/key/key-reference.ts';

/** Ids as Keystone makes them: 32 hex digits, or 64 of users that it knows from elsewhere. A name is none. */
const USER_ID = /^(?:[0-9a-f]{32}|[0-9a-f]{64})$/;
const NEWLINE = 0x0a;

export function referenceOf(text: string): KeyReference {
  const reference = parseKeyReference(text);
  if (reference !== undefined) return reference;
  throw usage(`"${text}" is no key.`, 'A key is barbican:UUID, or file:NAME of letters, digits and . _ -');
}

/** USAGE: Barbican takes any word, and grants the key to nobody. */
export function userIds(given: readonly string[]): readonly string[] {
  const wrong = given.find((id) => !USER_ID.test(id));
  if (wrong !== undefined) {
    throw usage(
      `"${wrong}" is no id of a user of Keystone.`,
      "A host's id is shown by lvp doctor on it, and by: openstack user show NAME -f value -c id",
    );
  }
  return [...new Set(given)];
}

/** From standard input, without the line end; the caller wipes it. */
export function keyFromInput(): Buffer {
  if (process.stdin.isTTY) {
    throw usage(
      'A key is not typed: it would be seen.',
      'Send it through a pipe, as the example under --help does.',
    );
  }
  const room = Buffer.alloc(KEY_BYTES_MAX + 2);
  try {
    const length = readAll(room);
    const end = room[length - 1] === NEWLINE ? length - 1 : length;
    const key = Buffer.alloc(end);
    room.copy(key, 0, 0, end);
    if (isKeyShaped(key)) return key;
    key.fill(0);
    throw usage(
      'What came on standard input is no key.',
      `A key is 32 to ${KEY_BYTES_MAX} visible ASCII characters, without spaces.`,
    );
  } finally {
    room.fill(0);
  }
}

function readAll(room: Buffer): number {
  let length = 0;
  while (length < room.length) {
    const count = readSync(0, room, length, room.length - length, null);
    if (count === 0) break;
    length += count;
  }
  return length;
}

export function usage(message: string, hint?: string): ProvisionError {
  return new ProvisionError({ code: 'USAGE', message, ...(hint === undefined ? {} : { hint }) });
}

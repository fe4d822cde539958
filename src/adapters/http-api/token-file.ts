/**
 * The tokens file: lines `name:hash`, and nothing from which a token could be made again. A token is its name, a dot
 * and 43 random characters, so that one that is shown has to be compared with one hash only.
 */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const deriveKey = promisify<Buffer, Buffer, number, { N: number; r: number; p: number }, Buffer>(scrypt);

const SALT_BYTES = 16;
const HASH_BYTES = 32;
const RANDOM_BYTES = 32;
/** 16 MiB and some 40 ms a hash: enough for what is random anyway. */
const COST = { N: 2 ** 14, r: 8, p: 1 };
const SCHEME = '$scrypt$ln=14,r=8,p=1';
const NAME = /^[A-Za-z0-9_-]{1,64}$/;
const TOKEN = /^([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9_-]{32,128})$/;
const LINE = /^([^:]*):(\$scrypt\$ln=14,r=8,p=1)\$([A-Za-z0-9+/]{22}==)\$([A-Za-z0-9+/]{43}=)$/;
/** So that neither the file nor a mistake in it takes the daemon's time. */
export const TOKENS_MAX = 1_000;

export interface TokenHash {
  readonly salt: Buffer;
  readonly hash: Buffer;
}

export function isTokenName(name: string): boolean {
  return NAME.test(name);
}

/** A new token; whoever has it is `name`. */
export function makeToken(name: string): string {
  return `${name}.${randomBytes(RANDOM_BYTES).toString('base64url')}`;
}

/** The name in a token, or undefined if it is none of ours. Names are no secret; what follows is. */
export function nameInToken(token: string): string | undefined {
  return TOKEN.exec(token)?.[1];
}

export async function hashToken(token: string): Promise<TokenHash> {
  const salt = randomBytes(SALT_BYTES);
  return { salt, hash: await deriveKey(Buffer.from(token), salt, HASH_BYTES, COST) };
}

/** Takes the same time whatever the token is. */
export async function matchesToken(token: string, { salt, hash }: TokenHash): Promise<boolean> {
  return timingSafeEqual(await deriveKey(Buffer.from(token), salt, HASH_BYTES, COST), hash);
}

export function tokenLine(name: string, { salt, hash }: TokenHash): string {
  return `${name}:${SCHEME}$${salt.toString('base64')}$${hash.toString('base64')}`;
}

/** The hashes by name, or every mistake with its line; what a line holds is not repeated. */
export function parseTokens(text: string): {
  readonly tokens: ReadonlyMap<string, TokenHash>;
  readonly mistakes: readonly string[];
} {
  const tokens = new Map<string, TokenHash>();
  const mistakes: string[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [, name = '', , salt = '', hash = ''] = LINE.exec(line.trim()) ?? [];
    if (!isTokenName(name)) {
      mistakes.push(
        `line ${index + 1} is not NAME:HASH as lvp token create writes it; a token as it is has no place here`,
      );
    } else if (tokens.has(name)) mistakes.push(`line ${index + 1} has the name ${name} a second time`);
    else tokens.set(name, { salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') });
  }
  if (tokens.size > TOKENS_MAX) mistakes.push(`it has more than ${TOKENS_MAX} tokens`);
  return { tokens, mistakes };
}

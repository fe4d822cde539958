/** Certificate authorities to trust, from a file in PEM form. */
import { readFileSync } from 'node:fs';
import { codeOf } from './credentials.ts';

/** Undefined where no file is named: the system's are trusted then. */
export function readCa(
  key: string,
  path: string | undefined,
): { readonly ca: string | undefined } | { readonly mistake: string } {
  if (path === undefined) return { ca: undefined };
  try {
    const ca = readFileSync(path, 'utf8');
    if (ca.includes('-----BEGIN CERTIFICATE-----')) return { ca };
    return { mistake: `${key}: ${path} holds no certificate in PEM form` };
  } catch (error) {
    return { mistake: `${key}: ${path} cannot be read: ${codeOf(error)}` };
  }
}

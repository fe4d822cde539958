/** Which images somebody means who names them. */
import { ProvisionError } from '../../core/errors.ts';
import { quote } from '../../core/quote.ts';

interface Named {
  /** `BUCKET/KEY`. */
  readonly image: string;
  readonly sha256: string;
}

/** Fewer digits of a SHA-256 would soon mean several. */
const DIGITS_MIN = 8;

/** Each once; IMAGE_NOT_FOUND if one of the names means none. */
export function namedImages<T extends Named>(images: readonly T[], names: readonly string[]): readonly T[] {
  const found = new Set<T>();
  for (const name of names) {
    const meant = images.filter((image) => isMeant(image, name));
    if (meant.length === 0) throw notHere(name);
    for (const image of meant) found.add(image);
  }
  return [...found];
}

function isMeant({ image, sha256 }: Named, name: string): boolean {
  const isDigits = /^[0-9a-f]+$/i.test(name) && name.length >= DIGITS_MIN;
  return image === name || (isDigits && sha256.startsWith(name.toLowerCase()));
}

function notHere(name: string): ProvisionError {
  return new ProvisionError({
    code: 'IMAGE_NOT_FOUND',
    message: `There is no image ${quote(name)} on this host.`,
    hint: `lvp image ls shows those that are; name one as BUCKET/KEY, or by at least ${DIGITS_MIN} digits of its SHA-256.`,
  });
}

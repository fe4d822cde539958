/** What a store says is in a bucket: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html */
import type { ListedObject } from '../provision/ports.ts';
import type { Element } from '../core/xml.ts';
import { elementsOf, parseXml, textOf } from '../core/xml.ts';

/** A thousand keys of the longest kind, escaped, and what else is said of each. */
export const LISTING_BYTES_MAX = 2 ** 20;

/** Keys come escaped, for XML cannot hold all that a key may. */
export function listingQuery(countMax: number): string {
  return `encoding-type=url&list-type=2&max-keys=${countMax}`;
}

/** STORE_UNREACHABLE for an answer that is none. */
export function parseListing(xml: string): {
  readonly objects: readonly ListedObject[];
  readonly more: boolean;
} {
  const root = parseXml(xml, { code: 'STORE_UNREACHABLE', what: 'listing of the bucket' });
  const objects = elementsOf(root)
    .filter(({ localName }) => localName === 'Contents')
    .map((contents) => ({
      key: unescaped(partOf(contents, 'Key') ?? ''),
      sizeBytes: Number(partOf(contents, 'Size')),
      modifiedAtMs: millisOf(partOf(contents, 'LastModified')),
    }))
    .filter(({ key, sizeBytes }) => key !== '' && Number.isSafeInteger(sizeBytes) && sizeBytes >= 0);
  return { objects, more: partOf(root, 'IsTruncated') === 'true' };
}

function partOf(element: Element, name: string): string | undefined {
  const found = elementsOf(element).find(({ localName }) => localName === name);
  return found === undefined ? undefined : textOf(found);
}

function unescaped(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll('+', '%20'));
  } catch {
    return '';
  }
}

function millisOf(time: string | undefined): number | undefined {
  const ms = Date.parse(time ?? '');
  return Number.isNaN(ms) ? undefined : ms;
}

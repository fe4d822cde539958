/**
 * The one way XML comes into this program. Domain XML may hold passwords, so nothing of the text, and
 * nothing the parser says about it, goes into an error: only the line and column.
 */
import { DOMParser, ParseError, type Element } from '@xmldom/xmldom';
import { ProvisionError, type ErrorCode } from '../errors.ts';

export type { Element } from '@xmldom/xmldom';

/** libvirt's domains measure a few KiB, those with a hundred disks less than 100. */
export const XML_BYTES_MAX = 1024 * 1024;

/** What an XML text is called in messages, and the code of an error in it. */
export interface XmlKind {
  readonly code: ErrorCode;
  readonly what: string;
}

/** The root element. Anything the parser so much as warns about is an error. */
export function parseXml(xml: string, { code, what }: XmlKind): Element {
  if (xml.length > XML_BYTES_MAX || Buffer.byteLength(xml) > XML_BYTES_MAX) {
    throw new ProvisionError({
      code,
      message: `The ${what} is larger than ${XML_BYTES_MAX / 1024} KiB.`,
      hint: 'No such text comes from libvirt itself; see what has been put into its metadata.',
    });
  }
  if (hasDoctype(xml)) {
    throw new ProvisionError({
      code,
      message: `The ${what} has a DOCTYPE, which is not allowed here.`,
      hint: 'Remove it, and write out what its entities stand for.',
    });
  }
  try {
    const parser = new DOMParser({ onError: refuse, normalizeLineEndings });
    const root = parser.parseFromString(xml, 'text/xml').documentElement;
    if (root !== null) return root;
  } catch (error) {
    throw malformed(error, { code, what });
  }
  throw malformed(undefined, { code, what });
}

function refuse(): never {
  throw new Error('not well-formed');
}

/** XML 1.0 knows two line ends; the parser's own default would also turn U+0085 and U+2028 into one. */
function normalizeLineEndings(xml: string): string {
  return xml.replaceAll(/\r\n?/g, '\n');
}

/** The original error is dropped on purpose: its message quotes the text. */
function malformed(error: unknown, { code, what }: XmlKind): ProvisionError {
  const place = error instanceof ParseError ? placeOf(error.locator) : '';
  return new ProvisionError({
    code,
    message: `The ${what} is not well-formed XML${place}.`,
    hint: 'xmllint --noout shows what is wrong with it.',
  });
}

function placeOf(locator: unknown): string {
  if (typeof locator !== 'object' || locator === null) return '';
  const { lineNumber, columnNumber } = locator as { lineNumber?: unknown; columnNumber?: unknown };
  if (typeof lineNumber !== 'number' || typeof columnNumber !== 'number') return '';
  return ` (line ${lineNumber}, column ${columnNumber})`;
}

/** Looks for a DOCTYPE where one may stand: before the root element, between comments and the like. */
function hasDoctype(xml: string): boolean {
  let at = 0;
  for (;;) {
    while (/\s|\ufeff/.test(xml.charAt(at))) at += 1;
    const end = xml.startsWith('<!--', at) ? '-->' : xml.startsWith('<?', at) ? '?>' : undefined;
    if (end === undefined) return xml.startsWith('<!DOCTYPE', at);
    const close = xml.indexOf(end, at);
    if (close < 0) return false;
    at = close + end.length;
  }
}

/** All element children. */
export function elementsOf(parent: Element): Element[] {
  const found: Element[] = [];
  // Siblings, not childNodes: the parser's list costs a lookup for every step.
  for (let node = parent.firstChild; node !== null; node = node.nextSibling) {
    if (node.nodeType === node.ELEMENT_NODE) found.push(node as Element);
  }
  return found;
}

/** Element children of libvirt's own, which are in no namespace. */
export function childrenOf(parent: Element, name: string): Element[] {
  return elementsOf(parent).filter((child) => isPlain(child) && child.localName === name);
}

export function childOf(parent: Element, name: string): Element | undefined {
  return childrenOf(parent, name)[0];
}

/** True for an element in no namespace, such as libvirt's. */
export function isPlain(element: Element): boolean {
  return element.namespaceURI === null || element.namespaceURI === '';
}

/** Text and CDATA directly inside the element, spaces around it removed. */
export function textOf(element: Element): string {
  let text = '';
  for (let node = element.firstChild; node !== null; node = node.nextSibling) {
    if (node.nodeType === node.TEXT_NODE || node.nodeType === node.CDATA_SECTION_NODE) {
      text += node.nodeValue ?? '';
    }
  }
  return text.trim();
}

/** The value of an attribute in no namespace, if the element has it. */
export function attributeOf(element: Element, name: string): string | undefined {
  return element.hasAttribute(name) ? (element.getAttribute(name) ?? undefined) : undefined;
}

/** Text as it stands between the quotes of an attribute. */
export function escapeAttribute(value: string): string {
  return value.replaceAll(/[&<>"\t\n\r]/g, (char) => `&#${char.charCodeAt(0)};`);
}

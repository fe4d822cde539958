/** libvirt's secret XML: https://libvirt.org/formatsecret.html */
import { SECRET_DESCRIPTION, secretUuid } from '../key/secret-name.ts';
import { attributeOf, childOf, isPlain, parseXml, textOf, type Element } from './xml.ts';

const KIND = { code: 'LIBVIRT_FAILED', what: 'secret XML' } as const;

/** A secret under the UUID that is made of its volume's path (secretUuid()), which nobody else's has by chance. */
export interface OurSecret {
  readonly path: string;
  /** False if it is not as secretXml() has it: somebody has defined it anew, and libvirt may have its value on disk. */
  readonly isIntact: boolean;
}

/** Undefined if it is anybody else's. */
export function ourSecret(xml: string): OurSecret | undefined {
  const root = parseXml(xml, KIND);
  if (!isPlain(root) || root.localName !== 'secret') return undefined;
  const usage = childOf(root, 'usage');
  if (usage === undefined || attributeOf(usage, 'type') !== 'volume') return undefined;
  const path = textIn(usage, 'volume');
  if (path === '' || textIn(root, 'uuid').toLowerCase() !== secretUuid(path)) return undefined;
  const isIntact =
    textIn(root, 'description') === SECRET_DESCRIPTION &&
    attributeOf(root, 'ephemeral') === 'yes' &&
    attributeOf(root, 'private') === 'yes';
  return { path, isIntact };
}

function textIn(element: Element, name: string): string {
  const child = childOf(element, name);
  return child === undefined ? '' : textOf(child);
}

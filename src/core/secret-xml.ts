/** libvirt's secret XML: https://libvirt.org/formatsecret.html */
import { SECRET_DESCRIPTION, secretUuid } from './secret-name.ts';
import { attributeOf, childOf, isPlain, parseXml, textOf, type Element } from './xml.ts';

const KIND = { code: 'LIBVIRT_FAILED', what: 'secret XML' } as const;

/** The path of the volume if the secret is one of ours (see secretXml()); undefined for anybody else's. */
export function pathOfOurSecret(xml: string): string | undefined {
  const root = parseXml(xml, KIND);
  if (!isPlain(root) || root.localName !== 'secret') return undefined;
  const usage = childOf(root, 'usage');
  if (usage === undefined || attributeOf(usage, 'type') !== 'volume') return undefined;
  const path = textIn(usage, 'volume');
  const isOurs =
    path !== '' &&
    textIn(root, 'description') === SECRET_DESCRIPTION &&
    textIn(root, 'uuid').toLowerCase() === secretUuid(path);
  return isOurs ? path : undefined;
}

function textIn(element: Element, name: string): string {
  const child = childOf(element, name);
  return child === undefined ? '' : textOf(child);
}

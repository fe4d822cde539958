/** libvirt's storage pool XML: https://libvirt.org/formatstorage.html */
import { ProvisionError } from '../errors.ts';
import type { LogicalPool } from '../request.ts';
import { attributeOf, childOf, isPlain, parseXml, textOf, type Element } from './xml.ts';

// A pool XML that cannot be read is a defect of libvirt's answer, not of anybody's request.
const KIND = { code: 'POOL_UNSUITABLE', what: 'storage pool XML' } as const;

/** The pool, or undefined if it is not of type `logical`. */
export function parsePoolXml(xml: string, active: boolean): LogicalPool | undefined {
  const root = parseXml(xml, KIND);
  if (!isPlain(root) || root.localName !== 'pool') {
    throw invalid('The XML is not that of a storage pool: its outermost element is not <pool>.');
  }
  if (attributeOf(root, 'type') !== 'logical') return undefined;
  const name = requiredText(root, 'name');
  const uuid = requiredText(root, 'uuid').toLowerCase();
  const sourceName = childOf(childOf(root, 'source') ?? root, 'name');
  // libvirt takes the pool's own name for the volume group's if <source> names none.
  const vg = (sourceName && textOf(sourceName)) ?? name;
  return { name, uuid, vg: vg === '' ? name : vg, active };
}

function requiredText(root: Element, name: string): string {
  const element = childOf(root, name);
  const text = element === undefined ? '' : textOf(element);
  if (text === '') throw invalid(`The storage pool XML has no <${name}>.`);
  return text;
}

function invalid(message: string): ProvisionError {
  return new ProvisionError({
    code: KIND.code,
    message,
    hint: 'Compare it with what virsh pool-dumpxml prints for the pool.',
  });
}

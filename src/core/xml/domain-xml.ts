/**
 * libvirt's domain XML, reduced to what this program needs. The text itself, which may hold passwords
 * (`migrate begin` hands it over with them), is never kept and never quoted.
 */
import { ANNOTATION_NAMESPACE, readAnnotation, unknownElement } from '../annotation.ts';
import { ProvisionError, type Problem } from '../errors.ts';
import { quote } from '../quote.ts';
import type { Annotation, DiskSource, Domain, DomainDisk } from '../request.ts';
import { isUuid } from '../uuid.ts';
import { AnnotationError, mistake, type Reading } from './annotation-error.ts';
import {
  attributeOf,
  childOf,
  childrenOf,
  elementsOf,
  isPlain,
  parseXml,
  textOf,
  type Element,
} from './xml.ts';

const KIND = { code: 'DOMAIN_XML_INVALID', what: 'domain XML' } as const;

/** False for a domain that certainly has no annotation: told without parsing, for most domains have none. */
export function mayBeAnnotated(xml: string): boolean {
  return xml.includes(NAMESPACE_STEM);
}

/** Reads a domain; any mistake in its annotation is thrown, all of them at once. */
export function parseDomainXml(xml: string): Domain {
  const { domain, problems } = readDomainXml(xml);
  if (problems.length > 0) throw new AnnotationError(problems);
  return domain;
}

/**
 * Reads a domain whose annotation may be wrong: `problems` then holds the mistakes and the domain comes
 * without annotation. For those who correct it (`lvp annotate`) or only want to know the disks; whoever
 * decides by it whether a domain may start uses parseDomainXml.
 */
export function readDomainXml(xml: string): { domain: Domain; problems: readonly Problem[] } {
  const root = parseXml(xml, KIND);
  if (!isPlain(root) || root.localName !== 'domain') {
    throw invalid('The XML is not that of a domain: its outermost element is not <domain>.');
  }
  const { value, problems } = readMetadata(root);
  const domain = {
    uuid: readUuid(root),
    name: readName(root),
    disks: childrenOf(root, 'devices')
      .flatMap((devices) => childrenOf(devices, 'disk'))
      .map(readDisk),
  };
  return { domain: value === undefined ? domain : { ...domain, annotation: value }, problems };
}

function invalid(message: string, hint?: string): ProvisionError {
  return new ProvisionError({
    code: KIND.code,
    message,
    hint: hint ?? 'Compare it with what virsh dumpxml prints for the domain.',
  });
}

function readUuid(root: Element): string {
  const element = childOf(root, 'uuid');
  if (element === undefined) {
    throw invalid(
      'The domain XML has no <uuid>.',
      'A volume is filled for one UUID, and libvirt invents another one at every try: put a <uuid> into the XML (uuidgen makes one), or give one to virt-install with --metadata uuid=UUID.',
    );
  }
  const uuid = textOf(element).toLowerCase();
  if (!isUuid(uuid)) {
    throw invalid('The <uuid> of the domain XML is not a UUID in the form libvirt prints.');
  }
  return uuid;
}

function readName(root: Element): string {
  const element = childOf(root, 'name');
  const name = element === undefined ? '' : textOf(element);
  if (name === '') throw invalid('The domain XML has no <name>.');
  return name;
}

/** Only direct children of <metadata> are ours; other programs may keep copies of domains further inside. */
/** Of all versions of the annotation's namespace, as the qemu hook looks for it. */
const NAMESPACE_STEM = 'urn:libvirt-volume-provisioner:domain:';

function readMetadata(root: Element): Reading<Annotation> {
  const children = childrenOf(root, 'metadata').flatMap(elementsOf);
  const ours = children.filter(({ namespaceURI }) => namespaceURI === ANNOTATION_NAMESPACE);
  // What was meant for us must not pass as no annotation at all.
  const otherVersions = children.filter(
    ({ namespaceURI }) =>
      namespaceURI !== ANNOTATION_NAMESPACE && namespaceURI?.startsWith(NAMESPACE_STEM) === true,
  );
  const provisions = ours.filter(({ localName }) => localName === 'provision');
  const strangers = ours.filter(({ localName }) => localName !== 'provision');
  const readings = provisions.map(readAnnotation);
  const problems = [
    ...strangers.map((child) => unknownElement(child, '<metadata>', 'Only <provision> may stand here.')),
    ...otherVersions.map(otherVersion),
    ...(provisions.length > 1 ? [twoProvisions(provisions.length)] : []),
    ...readings.flatMap((reading) => reading.problems),
  ];
  return problems.length > 0 ? { problems } : { problems, value: readings[0]?.value };
}

function otherVersion({ localName, namespaceURI }: Element): Problem {
  return mistake(
    `<metadata> has an element ${quote(localName ?? '')} in the namespace ${quote(namespaceURI ?? '')}, which this version does not know.`,
    `The namespace is ${ANNOTATION_NAMESPACE}.`,
  );
}

function twoProvisions(count: number): Problem {
  return mistake(
    `<metadata> has ${count} elements <provision> of our namespace.`,
    'Keep one, with a <volume> for each disk to be filled.',
  );
}

function readDisk(disk: Element, index: number): DomainDisk {
  const targetElement = childOf(disk, 'target');
  const target = targetElement && attributeOf(targetElement, 'dev');
  if (target === undefined || target === '') {
    throw invalid(`Disk number ${index + 1} of the domain XML has no <target dev>.`);
  }
  const source = childOf(disk, 'source');
  const driver = childOf(disk, 'driver');
  return {
    target,
    device: attributeOf(disk, 'device') ?? 'disk',
    source: readSource(attributeOf(disk, 'type') ?? 'file', source),
    driverType: driver && attributeOf(driver, 'type'),
    readonly: childOf(disk, 'readonly') !== undefined,
    shareable: childOf(disk, 'shareable') !== undefined,
    transient: childOf(disk, 'transient') !== undefined,
    ...readEncryption(disk, source),
    startupPolicy: source && attributeOf(source, 'startupPolicy'),
  };
}

/** libvirt 3.9 moved <encryption> into <source>, and still reads it in its old place. */
function readEncryption(disk: Element, source: Element | undefined): Pick<DomainDisk, 'encryption'> {
  const element = (source && childOf(source, 'encryption')) ?? childOf(disk, 'encryption');
  if (element === undefined) return {};
  const secrets = childrenOf(element, 'secret').map((secret) => {
    const usage = attributeOf(secret, 'usage');
    const uuid = attributeOf(secret, 'uuid');
    if (uuid !== undefined) return { by: 'uuid', name: uuid } as const;
    return usage === undefined
      ? ({ by: 'nothing', name: '' } as const)
      : ({ by: 'usage', name: usage } as const);
  });
  return {
    encryption: {
      format: attributeOf(element, 'format') ?? '',
      engine: attributeOf(element, 'engine') ?? 'qemu',
      secrets,
    },
  };
}

function readSource(type: string, source: Element | undefined): DiskSource {
  if (source === undefined) return { type: 'other', sourceType: 'none' };
  // A slice shows the guest a part of the volume only, at an offset.
  if (childOf(source, 'slices') !== undefined) return { type: 'other', sourceType: `${type} with slices` };
  const pool = attributeOf(source, 'pool');
  const volume = attributeOf(source, 'volume');
  const path = attributeOf(source, 'dev');
  if (type === 'volume' && pool !== undefined && volume !== undefined) return { type, pool, volume };
  if (type === 'block' && path !== undefined) return { type, path };
  return { type: 'other', sourceType: type };
}

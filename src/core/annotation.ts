/**
 * The request in a domain's metadata, read from its element and written back. All mistakes are found in
 * one reading, since each correction means another `virsh edit`.
 */
import type { Problem } from './errors.ts';
import { formatKeyReference } from './key/key-reference.ts';
import { quote } from './quote.ts';
import { imageName, type Annotation, type VolumeRequest } from './request.ts';
import { formatSize } from './size.ts';
import {
  ATTRIBUTE_REMEDY,
  REQUIRED_ATTRIBUTE_NAMES,
  VOLUME_ATTRIBUTE_NAMES,
  VolumeAttributes,
  type VolumeAttributeName,
} from './volume/volume-attributes.ts';
import { AnnotationError, mistake, type Reading } from './xml/annotation-error.ts';
import { attributeOf, elementsOf, escapeAttribute, textOf, type Element } from './xml/xml.ts';

export const ANNOTATION_NAMESPACE = 'urn:libvirt-volume-provisioner:domain:1';
/** The prefix we write; when reading, any prefix will do. */
const ANNOTATION_PREFIX = 'vp';

const XMLNS_NAMESPACE = 'http://www.w3.org/2000/xmlns/';

/** Reads `<provision>`, throwing all mistakes at once. */
export function parseAnnotation(provision: Element): Annotation {
  const { value, problems } = readAnnotation(provision);
  if (value === undefined) throw new AnnotationError(problems);
  return value;
}

/** Reads `<provision>`, an element in our namespace, and returns all mistakes in it. */
export function readAnnotation(provision: Element): Reading<Annotation> {
  const [volumes, strangers] = splitChildren(provision);
  const readings = volumes.map(readVolume);
  const start = attributeOf(provision, 'start') ?? 'manual';
  const problems = [
    ...unknownAttributes(provision, '<provision>', ['start']),
    ...strangers.map((child) => unknownElement(child, '<provision>', 'Only <volume> may stand here.')),
    ...strayText(provision, '<provision>'),
    ...startMistakes(start),
    ...(volumes.length > 0 ? [] : [noVolume()]),
    ...readings.flatMap((reading) => reading.problems),
    ...repeatedTargets(volumes),
    ...repeatedKeys(readings.flatMap(({ value }) => (value === undefined ? [] : [value]))),
  ];
  if (problems.length > 0) return { problems };
  return {
    problems,
    value: {
      start: start === 'when-ready' ? 'when-ready' : 'manual',
      volumes: readings.flatMap(({ value }) => (value === undefined ? [] : [value])),
    },
  };
}

function splitChildren(provision: Element): [volumes: Element[], strangers: Element[]] {
  const children = elementsOf(provision);
  const isVolume = (child: Element) =>
    child.localName === 'volume' && child.namespaceURI === ANNOTATION_NAMESPACE;
  return [children.filter(isVolume), children.filter((child) => !isVolume(child))];
}

function noVolume(): Problem {
  return mistake(
    '<provision> has no <volume> in it.',
    'Add a <volume> for each disk to be filled, in the same namespace, or remove <provision>.',
  );
}

function startMistakes(start: string): Problem[] {
  if (start === 'manual' || start === 'when-ready') return [];
  return [
    mistake(
      `<provision> has start=${quote(start)}, which is neither manual nor when-ready.`,
      'Write start="when-ready" to have the domain started once its volumes are ready, or leave start out.',
    ),
  ];
}

function readVolume(volume: Element, index: number): Reading<VolumeRequest> {
  const label = labelOf(volume, index);
  const present = VOLUME_ATTRIBUTE_NAMES.flatMap((name) => {
    const value = attributeOf(volume, name);
    return value === undefined ? [] : [[name, value] as const];
  });
  const reading = readVolumeAttributes(Object.fromEntries(present), label);
  const problems = [
    ...unknownAttributes(volume, label, VOLUME_ATTRIBUTE_NAMES),
    ...elementsOf(volume).map((child) => unknownElement(child, label, 'A <volume> has attributes only.')),
    ...strayText(volume, label),
    ...reading.problems,
  ];
  return problems.length > 0 ? { problems } : reading;
}

/** Names the element as its author would look for it. */
function labelOf(volume: Element, index: number): string {
  const target = attributeOf(volume, 'target');
  return target === undefined ? `<volume> number ${index + 1}` : `<volume target=${quote(target)}>`;
}

/** The same rules for values that came from elsewhere, such as a command line. */
export function readVolumeAttributes(
  attributes: Readonly<Partial<Record<VolumeAttributeName, string | undefined>>>,
  label: string,
): Reading<VolumeRequest> {
  const missing = REQUIRED_ATTRIBUTE_NAMES.filter((name) => attributes[name] === undefined);
  const problems = missing.map((name) => mistake(`${label} has no ${name}.`, ATTRIBUTE_REMEDY[name]));
  const parsed = VolumeAttributes.safeParse(attributes);
  if (parsed.success) {
    const {
      size,
      generation,
      'on-undefine': onUndefine,
      'after-migration': afterMigration,
      ...request
    } = parsed.data;
    const value = { ...request, sizeBytes: size, generation: generation ?? 1, onUndefine, afterMigration };
    return { problems, value };
  }
  for (const { path, message } of parsed.error.issues) {
    const name = VOLUME_ATTRIBUTE_NAMES.find((known) => known === path[0]);
    const found = name === undefined ? undefined : attributes[name];
    if (name === undefined || found === undefined) continue;
    // Whoever has taken a key for its name must not find it in a log.
    const shown = name === 'key' ? '…' : quote(found);
    problems.push(mistake(`${label} has ${name}=${shown}, ${message}.`, ATTRIBUTE_REMEDY[name]));
  }
  return { problems };
}

function unknownAttributes(element: Element, label: string, known: readonly string[]): Problem[] {
  return Array.from(element.attributes)
    .filter(({ namespaceURI }) => namespaceURI !== XMLNS_NAMESPACE)
    .filter(({ name, namespaceURI }) => (namespaceURI ?? '') !== '' || !known.includes(name))
    .map(({ name, value }) =>
      mistake(
        `${label} has ${shorten(name)}=${quote(value)}, which is not an attribute we know.`,
        `Remove it; known here: ${known.join(', ')}.`,
      ),
    );
}

export function unknownElement(child: Element, label: string, remedy: string): Problem {
  const name = shorten(child.localName ?? child.nodeName);
  const foreign = child.namespaceURI !== ANNOTATION_NAMESPACE;
  return mistake(
    `${label} has an element <${name}>${foreign ? ' of another namespace' : ''} in it, which does not belong there.`,
    `${remedy} ${foreign ? `Our namespace is ${ANNOTATION_NAMESPACE}.` : 'Remove the element.'}`,
  );
}

/** A name of an element or attribute, quoted like a value and without the quotes. */
function shorten(name: string): string {
  return quote(name).slice(1, -1);
}

function strayText(element: Element, label: string): Problem[] {
  const text = textOf(element);
  if (text === '') return [];
  return [mistake(`${label} has the text ${quote(text)} in it, which does not belong there.`, 'Remove it.')];
}

function repeatedTargets(volumes: readonly Element[]): Problem[] {
  const seen = new Set<string>();
  const repeated = new Set<string>();
  for (const volume of volumes) {
    const target = attributeOf(volume, 'target');
    if (target === undefined) continue;
    if (seen.has(target)) repeated.add(target);
    seen.add(target);
  }
  return Array.from(repeated, (target) =>
    mistake(
      `<provision> has more than one <volume target=${quote(target)}>.`,
      'Keep one: a disk is filled from one image.',
    ),
  );
}

function repeatedKeys(volumes: readonly VolumeRequest[]): Problem[] {
  const targets = Map.groupBy(
    volumes.filter(({ key }) => key !== undefined),
    ({ key }) => (key === undefined ? '' : formatKeyReference(key)),
  );
  return [...targets]
    .filter(([, [, second]]) => second !== undefined)
    .map(([key, all]) =>
      mistake(
        `<provision> names the key ${key} for ${all.map(({ target }) => target).join(' and ')}.`,
        'Give each disk a key of its own: lvp key create makes one.',
      ),
    );
}

/** The annotation with this volume in it, in place of an earlier one for the same disk. */
export function withVolume(annotation: Annotation | undefined, request: VolumeRequest): Annotation {
  const { start, volumes } = annotation ?? { start: 'manual', volumes: [] };
  const known = volumes.some(({ target }) => target === request.target);
  return {
    start,
    volumes: known
      ? volumes.map((volume) => (volume.target === request.target ? request : volume))
      : [...volumes, request],
  };
}

/** The element as it stands in domain XML. */
export function formatAnnotation({ start, volumes }: Annotation): string {
  const head = formatAttributes([
    [`xmlns:${ANNOTATION_PREFIX}`, ANNOTATION_NAMESPACE],
    ['start', start === 'manual' ? undefined : start],
  ]);
  return [
    `<${ANNOTATION_PREFIX}:provision${head}>`,
    ...volumes.map((volume) => `  <${ANNOTATION_PREFIX}:volume${formatAttributes(attributesFor(volume))}/>`),
    `</${ANNOTATION_PREFIX}:provision>`,
  ].join('\n');
}

type Attributes = readonly (readonly [name: string, value: string | number | undefined])[];

function attributesFor(volume: VolumeRequest): Attributes {
  return [
    ['target', volume.target],
    ['image', imageName(volume.image)],
    ['format', volume.format],
    ['compression', volume.compression],
    ['sha256', volume.sha256],
    ['sha512', volume.sha512],
    ['version', volume.version],
    ['size', volume.sizeBytes === undefined ? undefined : formatSize(volume.sizeBytes)],
    ['generation', volume.generation],
    ['key', volume.key === undefined ? undefined : formatKeyReference(volume.key)],
    ['on-undefine', volume.onUndefine],
    ['after-migration', volume.afterMigration],
  ];
}

function formatAttributes(attributes: Attributes): string {
  return attributes
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}="${escapeAttribute(String(value))}"`)
    .join('');
}

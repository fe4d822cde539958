/** Pieces of XML and requests that the tests of this folder share. */
import fc from 'fast-check';
import { ANNOTATION_NAMESPACE } from '../../src/core/annotation.ts';
import type { Annotation, VolumeRequest } from '../../src/core/request.ts';
import { parseXml, type Element } from '../../src/core/xml/xml.ts';

export const GOOD = 'target="vda" image="images/debian-13.qcow2" format="qcow2"';

/** `<vp:provision>` around some content. */
export function provision(content: string, attributes = ''): string {
  return `<vp:provision xmlns:vp="${ANNOTATION_NAMESPACE}"${attributes}>${content}</vp:provision>`;
}

/** A good `<vp:volume>` with one attribute changed, or taken away if the value is undefined. */
export function volumeWith(name: string, value: string | undefined): string {
  const attributes = new Map<string, string | undefined>([
    ['target', 'vda'],
    ['image', 'images/debian-13.qcow2'],
    ['format', 'qcow2'],
    [name, value],
  ]);
  const text = [...attributes]
    .filter(([, one]) => one !== undefined)
    .map(([key, one]) => ` ${key}="${one ?? ''}"`);
  return `<vp:volume${text.join('')}/>`;
}

export function element(xml: string): Element {
  return parseXml(xml, { code: 'ANNOTATION_INVALID', what: 'annotation' });
}

const keyChar = fc.constantFrom(...'abzAZ09 ._-+%&<>"\'é漢😀'.split(/(?:)/u));
const keyPart = fc
  .string({ unit: keyChar, minLength: 1, maxLength: 12 })
  .filter((part) => part !== '.' && part !== '..');

export const anyRequest: fc.Arbitrary<VolumeRequest> = fc.record({
  target: fc.stringMatching(/^(vd|sd|hd)[a-z]{1,2}$/),
  image: fc.record({
    bucket: fc.stringMatching(/^[a-z0-9]{2,10}-[a-z0-9]{1,5}(\.[a-z]{1,4})?$/),
    key: fc.array(keyPart, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/')),
  }),
  format: fc.constantFrom('raw', 'qcow2'),
  compression: fc.option(fc.constantFrom('gzip', 'zstd', 'xz'), { nil: undefined }),
  sha512: fc.option(fc.stringMatching(/^[0-9a-f]{128}$/), { nil: undefined }),
  sha256: fc.option(fc.stringMatching(/^[0-9a-f]{64}$/), { nil: undefined }),
  version: fc.option(fc.stringMatching(/^[!-~]{1,40}$/), { nil: undefined }),
  sizeBytes: fc.option(
    fc.integer({ min: 1, max: 2 ** 31 }).map((sectors) => sectors * 512),
    { nil: undefined },
  ),
  generation: fc.integer({ min: 1, max: 999_999_999 }),
  key: fc.option(
    fc.oneof(
      fc.record({ provider: fc.constant('barbican' as const), id: fc.uuid() }),
      fc.record({
        provider: fc.constant('file' as const),
        id: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/),
      }),
    ),
    { nil: undefined },
  ),
  onUndefine: fc.option(fc.constantFrom('keep', 'delete'), { nil: undefined }),
  afterMigration: fc.option(fc.constantFrom('keep', 'delete'), { nil: undefined }),
});

export const anyAnnotation: fc.Arbitrary<Annotation> = fc.record({
  start: fc.constantFrom('manual', 'when-ready'),
  volumes: fc.uniqueArray(anyRequest, {
    ...{ minLength: 1, maxLength: 5 },
    comparator: (one, other) =>
      one.target === other.target || (one.key !== undefined && one.key.id === other.key?.id),
  }),
});

/** A whole domain around some metadata and disks. */
export function domainXml({ metadata = '', disks = '', head = '' }): string {
  return `${head}<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
    <name>web1</name>
    <uuid>7d3f0a52-8d0e-4b5e-9a53-0d6d1c1f9f01</uuid>
    <metadata>${metadata}</metadata>
    <devices>${disks}<graphics type='vnc' passwd='hunter2'/></devices>
    <qemu:commandline><qemu:arg value='-foo'/></qemu:commandline>
  </domain>`;
}

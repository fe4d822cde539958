import { describe, expect, it } from 'vitest';
import { ANNOTATION_NAMESPACE } from '../../../src/core/annotation.ts';
import { AnnotationError } from '../../../src/core/xml/annotation-error.ts';
import { parseDomainXml, readDomainXml } from '../../../src/core/xml/domain-xml.ts';
import { domainXml, GOOD, provision } from '../annotated.ts';

const good = provision(`<vp:volume ${GOOD}/>`);

describe('parseDomainXml', () => {
  it('reads what the program needs, and nothing else', () => {
    const xml = domainXml({ metadata: good, disks: "<disk type='block'><target dev='vda'/></disk>" });
    const domain = parseDomainXml(xml);
    expect(domain).toEqual({
      uuid: '7d3f0a52-8d0e-4b5e-9a53-0d6d1c1f9f01',
      name: 'web1',
      disks: [
        {
          target: 'vda',
          device: 'disk',
          source: { type: 'other', sourceType: 'none' },
          driverType: undefined,
          readonly: false,
          shareable: false,
          transient: false,
          startupPolicy: undefined,
        },
      ],
      annotation: {
        start: 'manual',
        volumes: [expect.objectContaining({ target: 'vda', format: 'qcow2', generation: 1 })],
      },
    });
    expect(JSON.stringify(domain)).not.toContain('hunter2');
  });

  it.each([
    ['<source pool="guests" volume="a"/>', 'volume', { type: 'volume', pool: 'guests', volume: 'a' }],
    ['<source dev="/dev/guests/a" index="1"/>', 'block', { type: 'block', path: '/dev/guests/a' }],
    ['<source file="/x"/>', 'file', { type: 'other', sourceType: 'file' }],
    ['<source pool="guests"/>', 'volume', { type: 'other', sourceType: 'volume' }],
    ['', 'block', { type: 'other', sourceType: 'none' }],
    [
      '<source dev="/dev/guests/a"><slices><slice type="storage" offset="512" size="512"/></slices></source>',
      'block',
      { type: 'other', sourceType: 'block with slices' },
    ],
  ])('reads the source %s', (source, type, expected) => {
    const disks = `<disk type='${type}'>${source}<target dev='vda'/></disk>`;
    expect(parseDomainXml(domainXml({ disks })).disks[0]?.source).toEqual(expected);
  });

  it.each([
    ['<readonly/>', { readonly: true }],
    ['<shareable/>', { shareable: true }],
    ['<transient/>', { transient: true }],
    ['<encryption format="luks"/>', { encryption: { format: 'luks', engine: 'qemu', secrets: [] } }],
    [
      '<source><encryption format="luks2" engine="librbd"><secret type="passphrase" usage="/dev/a/b"/></encryption></source>',
      { encryption: { format: 'luks2', engine: 'librbd', secrets: [{ by: 'usage', name: '/dev/a/b' }] } },
    ],
    ['<source startupPolicy="optional"/>', { startupPolicy: 'optional' }],
    ['<driver name="qemu" type="qcow2"/>', { driverType: 'qcow2' }],
    ['<x:readonly xmlns:x="urn:x"/>', { readonly: false }],
  ])('reads %s of a disk', (content, expected) => {
    const disks = `<disk type='block' device='lun'>${content}<target dev='sda'/></disk>`;
    expect(parseDomainXml(domainXml({ disks })).disks[0]).toMatchObject({ device: 'lun', ...expected });
  });

  it.each([
    ['another root', '<pool/>', 'its outermost element is not <domain>'],
    ['a root of another namespace', '<domain xmlns="urn:x"/>', 'its outermost element is not <domain>'],
    ['no uuid', '<domain><name>a</name></domain>', 'has no <uuid>'],
    ['a wrong uuid', '<domain><name>a</name><uuid>../x</uuid></domain>', 'is not a UUID'],
    ['no name', domainXml({}).replace('<name>web1</name>', ''), 'has no <name>'],
    ['an empty name', domainXml({}).replace('web1', ' '), 'has no <name>'],
    ['no target', domainXml({ disks: '<disk/>' }), 'Disk number 1 of the domain XML has no <target dev>'],
  ])('refuses %s', (_name, xml, says) => {
    expect(() => parseDomainXml(xml)).toThrow(expect.objectContaining({ code: 'DOMAIN_XML_INVALID' }));
    expect(() => parseDomainXml(xml)).toThrow(says);
  });
});

describe('the annotation', () => {
  it.each([
    ['a comment', `<!-- ${good} -->`],
    ['CDATA', `<![CDATA[${good}]]>`],
    ['an element of another program', `<app:data xmlns:app="urn:app">${good}</app:data>`],
    ['an element of another namespace', good.replaceAll('urn:libvirt-volume', 'urn:other-volume')],
    ['no namespace', '<provision><volume/></provision>'],
    ['an inner <metadata>', `<metadata>${good}</metadata>`],
  ])('is not found in %s', (_name, metadata) => {
    const { domain, problems } = readDomainXml(domainXml({ metadata }));
    expect(problems).toEqual([]);
    expect(domain.annotation).toBeUndefined();
  });

  it('is not found outside <metadata>', () => {
    const disks = `${good}<disk><target dev='vda'/>${good}</disk>`;
    expect(parseDomainXml(domainXml({ disks })).annotation).toBeUndefined();
  });

  it('is found between those of other programs', () => {
    const metadata = `<a:x xmlns:a="urn:a"/>${good}<b:x xmlns:b="urn:b"><b:y/></b:x>`;
    expect(parseDomainXml(domainXml({ metadata })).annotation?.volumes).toHaveLength(1);
  });

  const ours = (name: string) => `<vp:${name} xmlns:vp="${ANNOTATION_NAMESPACE}"/>`;
  it.each([
    ['two elements', good + good, '<metadata> has 2 elements <provision> of our namespace.'],
    ['a misspelt element', ours('provisions'), '<metadata> has an element <provisions> in it'],
    ['a second element of ours', good + ours('x'), '<metadata> has an element <x> in it'],
  ])('is refused with %s', (_name, metadata, says) => {
    expect(() => parseDomainXml(domainXml({ metadata }))).toThrow(AnnotationError);
    expect(() => parseDomainXml(domainXml({ metadata }))).toThrow(says);
  });

  it('may be wrong for those who only want the disks, who get no annotation then', () => {
    const xml = domainXml({ metadata: provision('<vp:volume/>'), disks: "<disk><target dev='vda'/></disk>" });
    const { domain, problems } = readDomainXml(xml);
    expect(problems).toHaveLength(3);
    expect(domain.disks).toHaveLength(1);
    expect('annotation' in domain).toBe(false);
  });
});

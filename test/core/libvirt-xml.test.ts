/**
 * The samples and schemas of libvirt-xml/: libvirt's own validator, xmllint and our parser are asked, and
 * must agree. Needs xmllint (libxml2-utils) and virt-xml-validate (libvirt-clients).
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { formatAnnotation, readAnnotation } from '../../src/core/annotation.ts';
import { locateVolumes } from '../../src/core/volume/locate.ts';
import { parseDomainXml } from '../../src/core/xml/domain-xml.ts';
import { parsePoolXml } from '../../src/core/xml/pool-xml.ts';
import { anyAnnotation, element, GOOD, provision, volumeWith } from './annotated.ts';

const FOLDER = join(import.meta.dirname, '../../libvirt-xml');
const UUID = '7d3f0a52-8d0e-4b5e-9a53-0d6d1c1f9f01';
const SCHEMAS = [
  ['--relaxng', 'annotation.rng'],
  ['--schema', 'annotation.xsd'],
] as const;

const scratch = mkdtempSync(join(tmpdir(), 'lvp-xml-'));
afterAll(() => {
  rmSync(scratch, { recursive: true });
});

const samples = readdirSync(FOLDER).filter((name) => name.endsWith('.xml'));
const pools = samples.filter((name) => name.startsWith('pool-'));
const domains = samples.filter((name) => !name.startsWith('pool-'));

/** A sample as libvirt gives it back: with the UUID that it makes for a new domain or pool. */
function sample(name: string): string {
  return readFileSync(join(FOLDER, name), 'utf8').replace('</name>', `</name><uuid>${UUID}</uuid>`);
}

function run(command: string, ...args: string[]) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (error !== undefined) throw error;
  return { status, output: stdout + stderr };
}

/** Which of the schemas accept which of these texts; one call of xmllint for each schema. */
function acceptedBy(texts: readonly string[]): (readonly boolean[])[] {
  const files = texts.map((text, index) => {
    const file = join(scratch, `annotation-${index}.xml`);
    writeFileSync(file, text);
    return file;
  });
  return SCHEMAS.map(([option, schema]) => {
    const { output } = run('xmllint', '--noout', option, join(FOLDER, schema), ...files);
    const lines = output.split('\n');
    const verdicts = files.map((file) => [`${file} validates`, `${file} fails to validate`]);
    return verdicts.map(([good, bad]) => {
      const accepted = lines.includes(good ?? '');
      if (accepted === lines.includes(bad ?? '')) throw new Error(`xmllint has no verdict: ${output}`);
      return accepted;
    });
  });
}

describe('samples', () => {
  it('are there', () => {
    expect(domains).toEqual([
      'block-disk.xml',
      'encrypted-disk.xml',
      'passing-guest.xml',
      'two-disks.xml',
      'volume-disk.xml',
      'when-ready.xml',
    ]);
    expect(pools).toEqual(['pool-logical.xml', 'pool-other-vg.xml']);
  });

  it.each(samples)('%s is valid for libvirt', (name) => {
    expect(run('virt-xml-validate', join(FOLDER, name))).toMatchObject({ status: 0 });
  });

  it('would not pass with an element unknown to libvirt', () => {
    const file = join(scratch, 'wrong.xml');
    writeFileSync(file, sample('volume-disk.xml').replace('<devices>', '<devices><provision/>'));
    expect(run('virt-xml-validate', file).status).not.toBe(0);
  });

  it.each(domains)('%s is read, and all its volumes are found in the sample pools', (name) => {
    const domain = parseDomainXml(sample(name));
    const known = pools.flatMap((pool) => parsePoolXml(sample(pool), true) ?? []);
    const { located, problems } = locateVolumes(domain, known);
    expect(problems).toEqual([]);
    expect(located.length).toBe(domain.annotation?.volumes.length);
  });

  it('have annotations that both schemas accept', () => {
    const path = '//*[local-name()="provision"]';
    const annotations = domains.map((name) => run('xmllint', '--xpath', path, join(FOLDER, name)).output);
    expect(acceptedBy(annotations)).toEqual(SCHEMAS.map(() => domains.map(() => true)));
  });
});

describe('the schemas', () => {
  it('accept what the program writes', () => {
    const annotations = fc.sample(anyAnnotation, { numRuns: 200, seed: 1 }).map(formatAnnotation);
    expect(acceptedBy(annotations)).toEqual(SCHEMAS.map(() => annotations.map(() => true)));
  });

  const good = `<vp:volume ${GOOD}/>`;
  const wrong: [name: string, xml: string][] = [
    ...(
      [
        ...['target', 'image', 'format'].map((name) => [name, undefined] as const),
        ...['', '/dev/vda', 'VDA', 'nvme0n1', 'vd', ' vda', 'vda '].map(
          (value) => ['target', value] as const,
        ),
        ...['', 'vmdk', 'QCOW2', ' raw', 'raw '].map((value) => ['format', value] as const),
        ...['', 'Delete', 'remove', ' keep'].flatMap((value) => [
          ['on-undefine', value] as const,
          ['after-migration', value] as const,
        ]),
        ...['', 'debian', 'images/', '/images/x', 'Images/x', 'ab/x', '-images/x'].map(
          (value) => ['image', value] as const,
        ),
        ...['images./x', 'im..ages/x', 'im.-ages/x', 'im-.ages/x', `${'a'.repeat(64)}/x`].map(
          (value) => ['image', value] as const,
        ),
        ...['images//x', 'images/a//x', 'images/a/', 'images/..', 'images/../a', 'images/a/./b'].map(
          (value) => ['image', value] as const,
        ),
        ...[
          'images/a&#10;b',
          'images/a&#9;b',
          'images/a&#x7f;b',
          ' images/a',
          `images/${'x'.repeat(1100)}`,
        ].map((value) => ['image', value] as const),
        ...['', 'a'.repeat(63), 'a'.repeat(65), 'g'.repeat(64)].map((value) => ['sha256', value] as const),
        ...['', 'a'.repeat(127), 'a'.repeat(129), 'g'.repeat(128)].map((value) => ['sha512', value] as const),
        ...['', 'none', 'gz', 'GZIP', 'xz ', 'bzip2'].map((value) => ['compression', value] as const),
        ...['', 'a b', 'é', 'a'.repeat(1025)].map((value) => ['version', value] as const),
        ...['', '0', '-1', '1.5GiB', '20 GiB', '20GB', '20gib', '020G', '1G '].map(
          (value) => ['size', value] as const,
        ),
        ...['', '0', '-1', '+1', '1.0', '01', '1000000000', ' 1'].map(
          (value) => ['generation', value] as const,
        ),
        ...[
          '',
          'none',
          'barbican:',
          'barbican:x',
          'file:',
          'file:../x',
          'file:.x',
          'file:a b',
          'vault:x',
        ].map((value) => ['key', value] as const),
        ['sha1', 'x'] as const,
      ] as const
    ).map(([name, value]): [string, string] => [
      value === undefined ? `no ${name}` : `${name}="${value.slice(0, 30)}"`,
      provision(volumeWith(name, value)),
    ]),
    ['no volume', provision('')],
    ['text', provision(`${good}text`)],
    ['text in a volume', provision(`<vp:volume ${GOOD}>text</vp:volume>`)],
    ['an element in a volume', provision(`<vp:volume ${GOOD}><vp:volume/></vp:volume>`)],
    ['an unknown element', provision(`${good}<vp:disk/>`)],
    ['a foreign element', provision(`${good}<x:volume xmlns:x="urn:x" ${GOOD}/>`)],
    ['a foreign attribute', provision(`<vp:volume xmlns:x="urn:x" ${GOOD} x:size="1G"/>`)],
    ['an unknown attribute', provision(good, ' begin="now"')],
    ['a wrong start', provision(good, ' start="now"')],
    ['an empty start', provision(good, ' start=""')],
    ['a start with a space', provision(good, ' start="manual "')],
  ];

  it('refuse what the parser refuses', () => {
    const [relaxng = [], xsd = []] = acceptedBy(wrong.map(([, xml]) => xml));
    const verdicts = wrong.map(([name, xml], index) => ({
      name,
      parser: readAnnotation(element(xml)).problems.length === 0,
      relaxng: relaxng[index],
      xsd: xsd[index],
    }));
    expect(verdicts).toEqual(wrong.map(([name]) => ({ name, parser: false, relaxng: false, xsd: false })));
  });

  it('refuse two volumes for one disk where the language can say it', () => {
    expect(acceptedBy([provision(good + good)])).toEqual([[true], [false]]);
  });

  it.each([
    ['a key too long in bytes', volumeWith('image', `images/${'é'.repeat(513)}`)],
    ['a bucket like an IP address', volumeWith('image', '10.0.0.1/x')],
    ['half a sector', volumeWith('size', '1000')],
    ['too large a size', volumeWith('size', '65TiB')],
  ])('leave to the parser, as they say at their top, %s', (_name, volume) => {
    expect(readAnnotation(element(provision(volume))).problems).toHaveLength(1);
    expect(acceptedBy([provision(volume)])).toEqual([[true], [true]]);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ANNOTATION_NAMESPACE,
  formatAnnotation,
  parseAnnotation,
  readAnnotation,
  readVolumeAttributes,
  withVolume,
} from '../../src/core/annotation.ts';
import { AnnotationError } from '../../src/core/xml/annotation-error.ts';
import { anyAnnotation, anyRequest, element, GOOD, provision, volumeWith } from './annotated.ts';

/** The messages about an annotation, each with its remedy behind it. */
function mistakesIn(xml: string): string[] {
  return readAnnotation(element(xml)).problems.map(({ code, message, hint }) => {
    expect(code).toBe('ANNOTATION_INVALID');
    expect(message).toMatch(/^<.*\.$/);
    expect(hint).toMatch(/\.$/);
    return `${message} ${hint ?? ''}`;
  });
}

describe('a good annotation', () => {
  it('is read with every attribute', () => {
    const sha256 = 'AB'.repeat(32);
    const xml = provision(
      `<vp:volume ${GOOD} sha256="${sha256}" version="null" size="20GiB" generation="3"/>`,
      ' start="when-ready"',
    );
    expect(parseAnnotation(element(xml))).toEqual({
      start: 'when-ready',
      volumes: [
        {
          target: 'vda',
          image: { bucket: 'images', key: 'debian-13.qcow2' },
          format: 'qcow2',
          sha256: sha256.toLowerCase(),
          version: 'null',
          sizeBytes: 20 * 2 ** 30,
          generation: 3,
        },
      ],
    });
  });

  it('starts by hand and has generation 1 unless it says otherwise', () => {
    const annotation = parseAnnotation(element(provision(`<vp:volume ${GOOD}/>`)));
    expect(annotation.start).toBe('manual');
    expect(annotation.volumes[0]?.generation).toBe(1);
    expect(annotation.volumes[0]?.sizeBytes).toBeUndefined();
  });

  it.each([
    ['another prefix', `<x:provision xmlns:x="${ANNOTATION_NAMESPACE}"><x:volume ${GOOD}/></x:provision>`],
    ['a default namespace', `<provision xmlns="${ANNOTATION_NAMESPACE}"><volume ${GOOD}/></provision>`],
    ['comments and line breaks', provision(`\n <!-- <vp:volume/> -->\n <vp:volume ${GOOD}>\n</vp:volume>\n`)],
    ['an instruction for another program', provision(`<?editor fold?><vp:volume ${GOOD}/>`)],
  ])('may be written with %s', (_name, xml) => {
    expect(mistakesIn(xml)).toEqual([]);
  });

  it.each(['images/a', 'a-b.c/x/y/z', 'images/...', 'images/.a/..b', 'images/naïve image (1).raw', '123/4'])(
    'may name the image %s',
    (image) => {
      expect(mistakesIn(provision(volumeWith('image', image)))).toEqual([]);
    },
  );

  it('reads back what was written', () => {
    fc.assert(
      fc.property(anyAnnotation, (annotation) => {
        expect(parseAnnotation(element(formatAnnotation(annotation)))).toEqual(annotation);
      }),
    );
  });
});

const SIZE_REMEDY = 'Write a whole number and a unit';
const IMAGE_REMEDY = 'Write BUCKET/KEY';

describe('a wrong attribute of <volume>', () => {
  it.each<[name: string, value: string | undefined, says: string, remedy: string]>([
    ['target', undefined, '<volume> number 1 has no target.', 'Write the <target dev> of the disk'],
    ['target', '', 'has target="", which is no name libvirt gives to a disk', 'such as target="vda"'],
    ['target', '/dev/vda', 'which is no name libvirt gives to a disk', 'such as target="vda"'],
    ['target', 'VDA', 'which is no name libvirt gives to a disk', 'such as target="vda"'],
    ['target', 'nvme0n1', 'which is no name libvirt gives to a disk', 'such as target="vda"'],
    ['format', undefined, '<volume target="vda"> has no format.', 'Write format="raw" or format="qcow2"'],
    ['format', 'vmdk', 'has format="vmdk", which is neither raw nor qcow2.', 'never guessed'],
    ['format', ' raw', 'has format=" raw", which is neither raw nor qcow2.', 'never guessed'],
    ['format', 'QCOW2', 'has format="QCOW2", which is neither raw nor qcow2.', 'never guessed'],
    ['image', undefined, '<volume target="vda"> has no image.', IMAGE_REMEDY],
    ['image', '', 'has image="", which has no slash between bucket and key.', IMAGE_REMEDY],
    ['image', 'debian.qcow2', 'which has no slash between bucket and key.', IMAGE_REMEDY],
    ['image', 'images/', 'which names a bucket but no object in it.', IMAGE_REMEDY],
    ['image', '/images/x', 'whose bucket is not 3 to 63 lower-case letters', IMAGE_REMEDY],
    ['image', 'Images/x', 'whose bucket is not 3 to 63 lower-case letters', IMAGE_REMEDY],
    ['image', 'http://evil.test/x', 'whose bucket is not 3 to 63 lower-case letters', IMAGE_REMEDY],
    ['image', 'evil.test:9000/x', 'whose bucket is not 3 to 63 lower-case letters', IMAGE_REMEDY],
    ['image', 'im_ages/x', 'whose bucket is not 3 to 63 lower-case letters', IMAGE_REMEDY],
    ['image', 'ab/x', 'whose bucket is not 3 to 63 lower-case letters', IMAGE_REMEDY],
    ['image', `${'a'.repeat(64)}/x`, 'whose bucket is not 3 to 63 lower-case letters', IMAGE_REMEDY],
    ['image', '-images/x', 'does not begin and end with a letter or digit', IMAGE_REMEDY],
    ['image', 'images./x', 'does not begin and end with a letter or digit', IMAGE_REMEDY],
    ['image', 'im..ages/x', 'has a dot next to another dot or a hyphen', IMAGE_REMEDY],
    ['image', 'im.-ages/x', 'has a dot next to another dot or a hyphen', IMAGE_REMEDY],
    ['image', '10.0.0.1/x', 'whose bucket looks like an IP address', IMAGE_REMEDY],
    ['image', 'images//x', 'whose key begins with a slash', IMAGE_REMEDY],
    ['image', 'images/a//x', 'whose key has an empty part', IMAGE_REMEDY],
    ['image', 'images/a/', 'whose key has an empty part', IMAGE_REMEDY],
    ['image', 'images/../secret', 'whose key has a part "." or ".."', IMAGE_REMEDY],
    ['image', 'images/a/.', 'whose key has a part "." or ".."', IMAGE_REMEDY],
    ['image', `images/${'é'.repeat(513)}`, 'whose key is longer than 1024 bytes', IMAGE_REMEDY],
    ['image', 'images/a&#10;b', 'image="images/a\\u{a}b", whose key has a control character', IMAGE_REMEDY],
    ['image', 'images/a&#x85;b', 'image="images/a\\u{85}b", whose key has a control character', IMAGE_REMEDY],
    ['sha256', '', 'has sha256="", which is not 64 hexadecimal digits', 'as sha256sum prints it'],
    ['sha256', 'a'.repeat(63), 'which is not 64 hexadecimal digits', 'as sha256sum prints it'],
    ['sha256', 'g'.repeat(64), `sha256="${'g'.repeat(60)}…", which is not 64`, 'as sha256sum prints it'],
    ['sha512', 'a'.repeat(64), 'which is not 128 hexadecimal digits', 'as sha512sum prints it'],
    ['compression', 'gz', 'has compression="gz", which is none of gzip, zstd, xz', 'never guessed'],
    ['version', '', 'has version="", which is not the id of an object version', 'leave the attribute out'],
    ['version', 'a b', 'has version="a b", which is not the id of an object version', 'leave the'],
    ['key', 'secret', 'has key=…, which names no key.', 'Write key="barbican:UUID"'],
    ['key', 'file:../x', 'has key=…, which names no key.', 'leave the attribute out for any other'],
    ['size', '', 'has size="", which is not a size.', SIZE_REMEDY],
    ['size', '0', 'has size="0", which is not a size.', SIZE_REMEDY],
    ['size', '-1GiB', 'has size="-1GiB", which is not a size.', SIZE_REMEDY],
    ['size', '1.5GiB', 'has size="1.5GiB", which is not a size.', SIZE_REMEDY],
    ['size', '20 GiB', 'has size="20 GiB", which is not a size.', SIZE_REMEDY],
    ['size', '20GB', 'has size="20GB", which is not a size.', SIZE_REMEDY],
    ['size', '1000', 'has size="1000", which is not a multiple of 512 bytes.', SIZE_REMEDY],
    ['size', '65TiB', 'has size="65TiB", which is more than 64TiB.', 'A volume is at most 64TiB.'],
    ['size', '9999999999999999T', 'which is not a size.', SIZE_REMEDY],
    ['generation', '0', 'has generation="0", which is not a whole number from 1', 'one more each time'],
    ['generation', '-1', 'which is not a whole number from 1', 'one more each time'],
    ['generation', '1.0', 'which is not a whole number from 1', 'one more each time'],
    ['generation', '1e3', 'which is not a whole number from 1', 'one more each time'],
    ['generation', '99999999999999999999', 'which is not a whole number from 1', 'one more each time'],
    ['sha1', 'x', 'has sha1="x", which is not an attribute we know.', 'known here: target, image, format'],
    ['__proto__', 'x', 'has __proto__="x", which is not an attribute we know.', 'known here: target'],
    ['constructor', 'x', 'has constructor="x", which is not an attribute we know.', 'known here: target'],
  ])('%s=%j', (name, value, says, remedy) => {
    const found = mistakesIn(provision(volumeWith(name, value)));
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(says);
    expect(found[0]).toContain(remedy);
  });
});

describe('a wrong element', () => {
  const good = `<vp:volume ${GOOD}/>`;
  const foreign = `<x:volume xmlns:x="urn:other" ${GOOD}/>`;
  it.each([
    ['an unknown attribute', provision(good, ' begin="now"'), '<provision> has begin="now", which is not an'],
    [
      'a wrong start',
      provision(good, ' start="now"'),
      'has start="now", which is neither manual nor when-ready',
    ],
    ['an empty start', provision(good, ' start=""'), 'has start="", which is neither manual nor when-ready'],
    [
      'a foreign attribute',
      provision(good, ' xmlns:x="u" x:start="manual"'),
      'has x:start="manual", which is',
    ],
    ['an unknown element', provision(`${good}<vp:volumes/>`), '<provision> has an element <volumes> in it'],
    ['a foreign element', provision(`${good}${foreign}`), 'element <volume> of another namespace in it'],
    ['text', provision(`${good} and so on`), '<provision> has the text "and so on" in it'],
    ['CDATA', provision(`${good}<![CDATA[<vp:volume/>]]>`), 'has the text "<vp:volume/>" in it'],
    ['nothing in it', provision(''), '<provision> has no <volume> in it.'],
    ['only foreign elements', provision(foreign), '<provision> has no <volume> in it.'],
    [
      'text in a volume',
      provision(`<vp:volume ${GOOD}>x</vp:volume>`),
      '<volume target="vda"> has the text "x"',
    ],
    [
      'an element in a volume',
      provision(`<vp:volume ${GOOD}><vp:sha256>x</vp:sha256></vp:volume>`),
      '<volume target="vda"> has an element <sha256> in it',
    ],
    ['two volumes for one disk', provision(good + good), 'has more than one <volume target="vda">.'],
    ['three volumes for one disk', provision(good.repeat(3)), 'has more than one <volume target="vda">.'],
  ])('%s', (_name, xml, says) => {
    expect(mistakesIn(xml).join('\n')).toContain(says);
  });

  it('is told once however often a disk is repeated', () => {
    expect(mistakesIn(provision(good.repeat(5)))).toHaveLength(1);
  });
});

describe('several mistakes', () => {
  const xml = provision(
    '<vp:volume target="vda" format="vmdk" size="20GB"/><vp:volume image="x" colour="blue"/>',
  );

  it('are all told, a line each, with the remedy', () => {
    expect(() => parseAnnotation(element(xml))).toThrow(AnnotationError);
    const error = new AnnotationError(readAnnotation(element(xml)).problems);
    expect(error.code).toBe('ANNOTATION_INVALID');
    expect(error.hint).toBeUndefined();
    const [head, ...lines] = error.message.split('\n');
    expect(head).toBe('The annotation has 7 mistakes:');
    expect(lines).toHaveLength(7);
    expect(lines[0]).toBe(
      '- <volume target="vda"> has no image. Write BUCKET/KEY, such as image="images/debian-13.qcow2".',
    );
    expect(lines.every((line) => line.startsWith('- <volume'))).toBe(true);
  });

  it('keep the remedy apart when there is only one', () => {
    const error = new AnnotationError(readAnnotation(element(provision(''))).problems);
    expect(error.message).toBe('The annotation has a mistake: <provision> has no <volume> in it.');
    expect(error.hint).toContain('Add a <volume>');
  });

  it('do not fill a terminal', () => {
    const many = provision('<vp:volume/>'.repeat(500));
    const error = new AnnotationError(readAnnotation(element(many)).problems);
    expect(error.message.split('\n')).toHaveLength(22);
    expect(error.message).toContain('- and 1480 more.');
  });

  it('cannot break a line or run on', () => {
    const value = `&#10;- &lt;volume target='vdb'> is fine&#x202e;${'x'.repeat(5000)}`;
    const [found = ''] = mistakesIn(provision(volumeWith('sha256', value)));
    expect(found).not.toMatch(/[\n\u202e]/);
    expect(found.length).toBeLessThan(400);
  });
});

describe('values from a command line', () => {
  it('are held to the same rules', () => {
    const { value, problems } = readVolumeAttributes(
      { target: 'vda', image: 'x', format: undefined },
      'This',
    );
    expect(value).toBeUndefined();
    expect(problems.map(({ message }) => message)).toEqual([
      'This has no format.',
      'This has image="x", which has no slash between bucket and key.',
    ]);
  });
});

describe('one key for two disks', () => {
  const volumeOf = (target: string, key: string) =>
    `<vp:volume target="${target}" image="images/a" format="raw" key="file:${key}"/>`;

  it('is a mistake', () => {
    const [found] = mistakesIn(provision(volumeOf('vda', 'x') + volumeOf('vdb', 'x')));
    expect(found).toContain('<provision> names the key file:x for vda and vdb.');
    expect(mistakesIn(provision(volumeOf('vda', 'x') + volumeOf('vdb', 'y')))).toEqual([]);
  });
});

describe('withVolume', () => {
  it('begins an annotation', () => {
    fc.assert(
      fc.property(anyRequest, (request) => {
        expect(withVolume(undefined, request)).toEqual({ start: 'manual', volumes: [request] });
      }),
    );
  });

  it('replaces the volume of that disk and keeps everything else', () => {
    fc.assert(
      fc.property(anyAnnotation, anyRequest, (annotation, request) => {
        const changed = withVolume(annotation, request);
        const others = ({ target }: { target: string }) => target !== request.target;
        expect(changed.start).toBe(annotation.start);
        expect(changed.volumes.filter((volume) => !others(volume))).toEqual([request]);
        expect(changed.volumes.filter(others)).toEqual(annotation.volumes.filter(others));
      }),
    );
  });
});

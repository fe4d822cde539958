import { describe, expect, it } from 'vitest';
import { ProvisionError, type Problem } from '../../../src/core/errors.ts';
import { childOf, parseXml, textOf, XML_BYTES_MAX } from '../../../src/core/xml/xml.ts';

const KIND = { code: 'DOMAIN_XML_INVALID', what: 'domain XML' } as const;

/** What parseXml says about a text it refuses; and how fast, since a hostile text must not cost much. */
function refusal(xml: string): Problem {
  const before = performance.now();
  let caught: unknown;
  try {
    parseXml(xml, KIND);
  } catch (error) {
    caught = error;
  }
  expect(performance.now() - before).toBeLessThan(5000);
  if (!(caught instanceof ProvisionError)) throw new Error('the text was not refused', { cause: caught });
  expect(caught.code).toBe('DOMAIN_XML_INVALID');
  expect(caught.cause).toBeUndefined();
  return caught;
}

describe('a text that is not well-formed', () => {
  it.each([
    ['nothing', ''],
    ['no element', 'hello'],
    ['an open element', '<a><b/>'],
    ['crossed elements', '<a><b></a></b>'],
    ['two roots', '<a/><b/>'],
    ['text behind the root', '<a/>x'],
    ['an attribute twice', '<a b="1" b="2"/>'],
    ['an attribute without quotes', '<a b=1/>'],
    ['an attribute without value', '<a b/>'],
    ['a prefix nobody declared', '<vp:a/>'],
    ['an unknown entity', '<a>&secret;</a>'],
    ['an unknown entity in an attribute', '<a b="&secret;"/>'],
    ['an endless comment', `<a>${'<!--'.repeat(100_000)}</a>`],
    ['an endless instruction', `<?a ${'<?'.repeat(100_000)}`],
    ['an endless attribute', `<a b="${' '.repeat(1_000_000)}`],
    ['a million <', '<'.repeat(1_000_000)],
  ])('%s', (_name, xml) => {
    expect(refusal(xml).message).toMatch(
      /^The domain XML is not well-formed XML( \(line \d+, column \d+\))?\.$/,
    );
  });

  it('is not quoted, because it may hold a password', () => {
    const { message, hint } = refusal(
      `<domain><graphics passwd="hunter2"/>\n<graphics passwd='hunter2/></domain>`,
    );
    expect(message).toMatch(/line \d+, column \d+/);
    expect(`${message} ${hint ?? ''}`).not.toContain('hunter');
  });
});

describe('a DOCTYPE', () => {
  const lol = Array.from({ length: 9 }, (_, i) => `<!ENTITY l${i + 1} "${`&l${i};`.repeat(10)}">`).join('');
  it.each([
    ['empty', '<!DOCTYPE domain><domain/>'],
    ['billion laughs', `<!DOCTYPE domain [<!ENTITY l0 "lol">${lol}]><domain>&l9;</domain>`],
    ['external entity', '<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd">]><d>&e;</d>'],
    ['external subset', '<!DOCTYPE d SYSTEM "file:///etc/passwd"><d/>'],
    ['behind declaration and comments', '<?xml version="1.0"?>\n<!-- a -->\n<?b c?> <!DOCTYPE d><d/>'],
    ['behind a byte order mark', '\ufeff<!DOCTYPE d><d/>'],
    ['very long', `<!DOCTYPE d [${'<!ENTITY a "b">'.repeat(60_000)}]><d/>`],
  ])('is refused: %s', (_name, xml) => {
    expect(refusal(xml).message).toBe('The domain XML has a DOCTYPE, which is not allowed here.');
  });

  it('is not seen where there is none', () => {
    const root = parseXml('<!-- <!DOCTYPE d> --><d><![CDATA[<!DOCTYPE d>]]></d>', KIND);
    expect(textOf(root)).toBe('<!DOCTYPE d>');
  });
});

describe('size and depth', () => {
  it('refuses 2 MiB', () => {
    expect(refusal(`<a>${' '.repeat(2 * 1024 * 1024)}</a>`).message).toBe(
      'The domain XML is larger than 1024 KiB.',
    );
  });

  it('counts bytes, not characters', () => {
    expect(refusal(`<a>${'漢'.repeat(XML_BYTES_MAX / 2)}</a>`).message).toContain('larger than 1024 KiB');
  });

  it.each([
    ['deep nesting', '<a>'.repeat(100_000) + '</a>'.repeat(100_000)],
    ['many siblings', `<a>${'<b/>'.repeat(200_000)}</a>`],
    ['many attributes', `<a ${Array.from({ length: 50_000 }, (_, i) => `b${i}="1"`).join(' ')}/>`],
  ])('reads %s within the limit, in time', (_name, xml) => {
    const before = performance.now();
    expect(childOf(parseXml(xml, KIND), 'none')).toBeUndefined();
    expect(performance.now() - before).toBeLessThan(10_000);
  });
});

it('keeps the line ends of XML 1.0 and no others', () => {
  expect(textOf(parseXml('<a>1\r\n2\r3\u00854\u20285</a>', KIND))).toBe('1\n2\n3\u00854\u20285');
});

import { describe, expect, it } from 'vitest';
import { parsePoolXml } from '../../../src/core/xml/pool-xml.ts';

const UUID = '0a6d9d5c-9d0b-4a55-8f0c-3b7f1f0f7c11';

function poolXml(type: string, source: string): string {
  return `<pool type='${type}'><name>guests</name><uuid>${UUID}</uuid><capacity unit='bytes'>0</capacity>${source}
    <target><path>/dev/guests</path></target></pool>`;
}

describe('parsePoolXml', () => {
  it('reads a logical pool', () => {
    const xml = poolXml(
      'logical',
      "<source><device path='/dev/sdb'/><name>vg0</name><format type='lvm2'/></source>",
    );
    expect(parsePoolXml(xml, true)).toEqual({ name: 'guests', uuid: UUID, vg: 'vg0', active: true });
    expect(parsePoolXml(xml, false)?.active).toBe(false);
  });

  it.each(['', '<source/>', '<source><name/></source>'])(
    'takes the name of the pool for that of the volume group with %j, as libvirt does',
    (source) => {
      expect(parsePoolXml(poolXml('logical', source), true)?.vg).toBe('guests');
    },
  );

  it.each(['dir', 'disk', 'rbd', 'LOGICAL', ''])('has nothing to say about a pool of type %j', (type) => {
    expect(parsePoolXml(poolXml(type, ''), true)).toBeUndefined();
  });

  it.each([
    ['<domain/>', 'its outermost element is not <pool>'],
    ["<pool type='logical'><name>a</name></pool>", 'has no <uuid>'],
    [`<pool type='logical'><uuid>${UUID}</uuid></pool>`, 'has no <name>'],
    ['<pool', 'The storage pool XML is not well-formed XML'],
    ['<!DOCTYPE pool><pool/>', 'The storage pool XML has a DOCTYPE'],
  ])('refuses %s', (xml, says) => {
    expect(() => parsePoolXml(xml, true)).toThrow(says);
  });
});

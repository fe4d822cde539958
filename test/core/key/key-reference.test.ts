import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatKeyReference, isKeyShaped, parseKeyReference } from '../../../src/core/key/key-reference.ts';

describe('parseKeyReference', () => {
  it('reads back what is written', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/), fc.uuid(), (name, uuid) => {
        expect(parseKeyReference(`file:${name}`)).toEqual({ provider: 'file', id: name });
        expect(formatKeyReference({ provider: 'file', id: name })).toBe(`file:${name}`);
        expect(parseKeyReference(`barbican:${uuid.toUpperCase()}`)).toEqual({
          provider: 'barbican',
          id: uuid,
        });
      }),
    );
  });

  it.each([
    '',
    ':',
    'file',
    'file:',
    'file:.',
    'file:../x',
    'file:a/b',
    'file:a\n',
    `file:${'a'.repeat(65)}`,
  ])('refuses %j', (text) => {
    expect(parseKeyReference(text)).toBeUndefined();
  });

  it.each(['barbican:', 'barbican:1234', 'barbican:../acl', 'vault:x', 'FILE:x', ' file:x'])(
    'refuses %j',
    (text) => {
      expect(parseKeyReference(text)).toBeUndefined();
    },
  );
});

describe('isKeyShaped', () => {
  it.each<[string, boolean]>([
    ['a'.repeat(31), false],
    ['a'.repeat(32), true],
    ['~!'.repeat(256), true],
    ['a'.repeat(513), false],
    [`${'a'.repeat(40)}\n`, false],
    [`${'a'.repeat(40)}\0`, false],
    [`${'a'.repeat(40)} b`, false],
    [`${'a'.repeat(40)}é`, false],
  ])('%j: %s', (text, expected) => {
    expect(isKeyShaped(Buffer.from(text))).toBe(expected);
  });
});

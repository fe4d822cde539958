import { describe, expect, it } from 'vitest';
import { ReadDomains } from '../../../src/provision/domains/read-domains.ts';

const UUID = '11111111-0000-4000-8000-111111111111';

function xmlOf(name: string): string {
  return `<domain><name>${name}</name><uuid>${UUID}</uuid></domain>`;
}

describe('domains as last read', () => {
  it('parses again only what has changed', () => {
    const domains = new ReadDomains();
    const first = domains.parse(UUID, xmlOf('a'));
    expect(domains.parse(UUID, xmlOf('a'))).toBe(first);
    expect(domains.parse(UUID, xmlOf('b')).name).toBe('b');
    expect(domains.parse(UUID, xmlOf('a')).name).toBe('a');
  });

  it('remembers nothing of what cannot be read, and of what is to be forgotten', () => {
    const domains = new ReadDomains();
    const first = domains.parse(UUID, xmlOf('a'));
    expect(() => domains.parse(UUID, '<domain>')).toThrow('not well-formed');
    expect(() => domains.parse(UUID, '<domain>')).toThrow('not well-formed');
    const again = domains.parse(UUID, xmlOf('a'));
    expect(again).not.toBe(first);
    domains.forget(UUID);
    expect(domains.parse(UUID, xmlOf('a'))).not.toBe(again);
  });
});

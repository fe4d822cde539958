import { describe, expect, it } from 'vitest';
import { secretPath, secretUuid, secretXml } from '../../../src/core/key/secret-name.ts';
import { isUuid } from '../../../src/core/uuid.ts';

describe('the secret of a volume', () => {
  const path = secretPath({ vg: 'vg0', lv: 'root' });

  it('has a UUID of its own, always the same, of version 5', () => {
    expect(secretUuid(path)).toBe(secretUuid('/dev/vg0/root'));
    expect(secretUuid(path)).not.toBe(secretUuid('/dev/vg0/root2'));
    expect(isUuid(secretUuid(path))).toBe(true);
    expect(secretUuid(path)).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });

  it('is private, in memory alone, and for that volume', () => {
    expect(secretXml(path)).toContain("ephemeral='yes' private='yes'");
    expect(secretXml(path)).toContain(`<uuid>${secretUuid(path)}</uuid>`);
    expect(secretXml(path)).toContain("<usage type='volume'><volume>/dev/vg0/root</volume></usage>");
  });
});

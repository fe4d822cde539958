/** Goal: nobody is told to delete a thin volume through libvirt, which does not know it. Method: one of each kind. */
import { describe, expect, it } from 'vitest';
import { deleteCommand } from '../../../src/core/volume/delete-command.ts';

describe('a volume that nobody needs', () => {
  it('is deleted through libvirt if it is thick, and by LVM if it is thin', () => {
    const place = { vg: 'vg0', lv: 'vm1' };
    expect(deleteCommand({ ...place, pool: 'guests' })).toBe('virsh vol-delete vm1 guests');
    expect(deleteCommand(place)).toBe('virsh vol-delete');
    expect(deleteCommand({ ...place, pool: 'guests', thinPool: 'pool0' })).toBe('lvremove vg0/vm1');
  });
});

/** Goal: whoever may be using a volume is found, however the XML writes its name; others are not. */
import { describe, expect, it } from 'vitest';
import { namingOf } from '../../../src/core/volume/volume-naming.ts';

const volume = { vg: 'vg-0', lv: 'web-root' };
const pools = [
  { name: 'guests', uuid: '1', vg: 'vg-0', active: true },
  { name: 'other', uuid: '2', vg: 'vg1', active: true },
];
const domain = (inside: string) => `<domain><name>x</name><devices>${inside}</devices></domain>`;
const naming = (inside: string) => namingOf(domain(inside), volume, pools);

describe('a volume is named by', () => {
  it.each([
    ["a disk's pool and volume", "<disk><source pool='guests' volume='web-root'/></disk>"],
    ['a pool that is none of ours', "<disk><source pool='folder' volume='web-root'/></disk>"],
    ['its path', "<disk><source dev='/dev/vg-0/web-root'/></disk>"],
    ['its path with odd slashes', "<disk><source dev='/dev//vg-0/./web-root'/></disk>"],
    ['its name in /dev/mapper', "<disk><source dev='/dev/mapper/vg--0-web--root'/></disk>"],
    ['a file', "<disk type='file'><source file='/dev/vg-0/web-root'/></disk>"],
    [
      'a backing chain',
      "<disk><source file='/top'/><backingStore><source file='/mid'/><backingStore><source dev='/dev/vg-0/web-root'/></backingStore></backingStore></disk>",
    ],
    ['a mirror', "<disk><mirror><source pool='guests' volume='web-root'/></mirror></disk>"],
    ["QEMU's command line", "<c:arg xmlns:c='urn:c' value='file=/dev/vg-0/web-root,if=virtio'/>"],
    ['a text', '<kernel>/dev/vg-0/web-root</kernel>'],
    ['a device that may be any', "<disk><source dev='/dev/dm-3'/></disk>"],
    ['a UUID of a file system', "<disk><source dev='/dev/disk/by-uuid/ab-cd'/></disk>"],
    ['its id', "<disk><source dev='/dev/disk/by-id/dm-name-vg--0-web--root'/></disk>"],
  ])('%s', (_how, inside) => {
    expect(naming(inside)).toBeDefined();
  });
});

describe('a volume is not named by', () => {
  it.each([
    ['a longer name', "<disk><source dev='/dev/vg-0/web-root2'/></disk>"],
    ['a longer name with a dot', "<disk><source dev='/dev/vg-0/web-root.old'/></disk>"],
    ['the same name in another group', "<disk><source dev='/dev/vg1/web-root'/></disk>"],
    ['the same name in a pool on another group', "<disk><source pool='other' volume='web-root'/></disk>"],
    ['another volume of the pool', "<disk><source pool='guests' volume='web'/></disk>"],
    ['a disk of metal', "<disk><source dev='/dev/disk/by-id/wwn-0x5000'/></disk>"],
  ])('%s', (_how, inside) => {
    expect(naming(inside)).toBeUndefined();
  });
});

/** What goes wrong with a thin pool, done to a real one: pool0 of vg1 in a test host, of which some is in use. */
import { eventually } from './host.ts';
import type { Host } from './host.ts';

const LIMIT_MS = 300_000;

/**
 * Sends messages to the pool, as LVM does, until it takes no more: each makes a thin device of which LVM knows nothing
 * and takes a block of metadata. To start dmsetup for each would take a minute.
 */
const USE_UP_METADATA = `
import fcntl, struct
def message(control, name, text):
    body = struct.pack('Q', 0) + text.encode() + b'\\0'
    head = struct.pack('3IIIIiIIIQ128s129s7s', 4, 0, 0, 312 + len(body), 312, 1, 0, 0, 0, 0, 0, name.encode(), b'', b'')
    fcntl.ioctl(control, 0xC138FD0E, bytearray((head + body).ljust(4096, b'\\0')))
with open('/dev/mapper/control', 'rb') as control:
    try:
        for number in range(1000000, 2000000): message(control, 'vg1-pool0-tpool', f'create_thin {number}')
    except OSError as error: print(error)
`;

/** The kernel's own word that metadata must be checked, THIN_METADATA_NEEDS_CHECK_FLAG in the superblock. */
const WANT_CHECK = `
import os, struct, sys
def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8): crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc
device, offset = sys.argv[1], int(sys.argv[2])
disk = os.open(device, os.O_RDWR)
block = bytearray(os.pread(disk, 4096, offset))
sum = lambda: crc32c(block[4:]) ^ 160774
assert struct.unpack_from('<I', block, 0)[0] == sum()
block[4] |= 1
struct.pack_into('<I', block, 0, sum())
os.pwrite(disk, block, offset)
os.fsync(disk)
`;

const script = (host: Host, text: string, input?: string) =>
  host.sh(`set -euo pipefail; ${text}`, {
    timeoutMs: LIMIT_MS,
    ...(input === undefined ? {} : { input }),
  });

/** Until the kernel lets the pool only be read. */
export async function useUpMetadata(host: Host): Promise<void> {
  await script(host, 'python3 -', USE_UP_METADATA);
  await script(host, `lvs --noheadings -o lv_health_status vg1/pool0 | grep -q metadata_read_only`);
}

/** Writes zeros to a volume `filler` until there is no room; the pool is to fail writes then, and not to wait a minute first. */
export async function useUpData(host: Host): Promise<void> {
  await script(
    host,
    `lvcreate -qq --yes --type thin --virtualsize 4g --thinpool pool0 --name filler vg1
     ! dd if=/dev/zero of=/dev/vg1/filler bs=1M oflag=direct status=none 2>/dev/null
     lvs --noheadings -o lv_health_status vg1/pool0 | grep -q out_of_data`,
  );
}

/** Where on which disk its metadata begin: the table of a linear device, LVM's first segment. */
const METADATA = `read -r _ _ _ disk sector <<<"$(dmsetup table vg1-pool0_tmeta | head -n 1)"; disk=/dev/block/$disk`;

/** Does something to its metadata on the disk while nothing of the group is active, and activates all again if that works. */
async function whileInactive(host: Host, change: string, input?: string): Promise<void> {
  await script(
    host,
    `${METADATA}
     vgchange -qq -an vg1
     ${change}
     vgchange -qq -aay vg1 2>/dev/null || true`,
    input,
  );
}

/** As a disk that could not write it leaves it behind. */
export function wantCheck(host: Host): Promise<void> {
  return whileInactive(host, 'python3 - $disk $((sector * 512))', WANT_CHECK);
}

/** By the book: lvmthin(7), "Metadata check and repair". */
export async function repair(host: Host): Promise<void> {
  await script(
    host,
    `vgchange -qq -an vg1; lvconvert -qq --yes --repair vg1/pool0 2>/dev/null
     lvremove -qq --yes vg1/pool0_meta0; vgchange -qq -aay vg1`,
  );
}

/** Its blocks, but for the superblock, are something else, until mendMetadata(): LVM does not activate it. */
export function damageMetadata(host: Host): Promise<void> {
  return whileInactive(
    host,
    `dd if=$disk of=/root/metadata bs=4096 skip=$((sector / 8 + 1)) count=64 iflag=direct status=none
     echo "$disk $((sector / 8 + 1))" >/root/where
     dd if=/dev/urandom of=$disk bs=4096 seek=$((sector / 8 + 1)) count=64 oflag=direct conv=notrunc status=none`,
  );
}

export async function mendMetadata(host: Host): Promise<void> {
  await script(
    host,
    `read -r disk block </root/where
     dd if=/root/metadata of=$disk bs=4096 seek=$block oflag=direct conv=notrunc status=none; vgchange -qq -aay vg1`,
  );
}

/**
 * In the place of /usr/sbin/lvm, passes every call on to /usr/lib/lvm-of-the-host. The call that the pattern in
 * /run/hold describes, after as many of that kind as /run/skip says, waits before that until /run/hold is gone.
 */
const HELD_LVM = `#!/bin/bash
call="\${0##*/} $*"
if [ -e /run/hold ] && [[ $call == $(</run/hold) ]]; then
  skip=$(</run/skip)
  if [ "$skip" -gt 0 ]; then echo $((skip - 1)) >/run/skip
  else
    touch /run/held
    while [ -e /run/hold ]; do sleep 0.05; done
  fi
fi
exec -a "\${0##*/}" /usr/lib/lvm-of-the-host "$@"
`;

/** From here on calls of LVM can be held. */
export async function prepareToHold(host: Host): Promise<void> {
  await host.sh('mv /usr/sbin/lvm /usr/lib/lvm-of-the-host; cat >/usr/sbin/lvm; chmod 755 /usr/sbin/lvm', {
    input: HELD_LVM,
  });
}

/** The next call of LVM that matches the pattern is held before it does anything; `skip` so many before that one. */
export async function holdCall(host: Host, call: string, skip = 0): Promise<void> {
  await host.sh(`rm -f /run/held; echo ${skip} >/run/skip; cat >/run/hold.new; mv /run/hold.new /run/hold`, {
    input: `${call}\n`,
  });
}

export async function isHeld(host: Host): Promise<void> {
  await eventually(
    'the call is held',
    async () => ((await host.sh('test -e /run/held', { reject: false })).exitCode === 0 ? true : undefined),
    { intervalMs: 100, timeoutMs: LIMIT_MS },
  );
}

export async function letGo(host: Host): Promise<void> {
  await host.sh('rm -f /run/hold');
}

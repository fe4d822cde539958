/**
 * Goal: whatever cuts the rotation of a key off, the volume opens with the key that its annotation names, and the next
 * boot by itself ends with the new key alone; and what was made unreadable is so for everybody. Method: one call of
 * cryptsetup is held for ever, before or after it was done; then the power is cut. Fills are cut off in the same host.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { CALLED, holdAt, letHold, untilHeld } from './cutting.ts';
import { testCutFills } from './encrypted-cuts.ts';
import { eventually } from './host.ts';
import { tracesOf } from './key-traces.ts';
import {
  beginSlowFill,
  define,
  limitRate,
  published,
  putRandomImages,
  useProvisionedHost,
} from './provisioned-host.ts';

/** What was changed before is of no interest. */
const MARK = '/root/before-the-keys';
const KEYS = '/var/lib/libvirt-volume-provisioner-keys';
const VOLUME = '/dev/vg0/turned';
const IMAGE_BYTES = 4 << 20;

describe('the key of a volume', () => {
  const { host, folder } = useProvisionedHost('rotation');
  const sh = async (command: string) => (await host().sh(command, { timeoutMs: 180_000 })).stdout;

  const slots = async () =>
    (await sh(`cryptsetup luksDump ${VOLUME}`)).match(/^Key Slot \d: ENABLED$/gm)?.length ?? 0;
  const annotated = async () => /key="([^"]*)"/.exec(await sh('virsh dumpxml --inactive turned'))?.[1];
  const opens = async (name: string): Promise<boolean> => {
    const decrypt = `systemd-creds decrypt --name=lvp-key-${name} ${KEYS}/${name}.cred -`;
    const test = `cryptsetup open --test-passphrase --key-file=- ${VOLUME}`;
    return (await host().sh(`${decrypt} | ${test}`, { reject: false, timeoutMs: 180_000 })).exitCode === 0;
  };

  beforeAll(async () => {
    const image = join(folder(), 'turned.raw');
    const bytes = randomBytes(IMAGE_BYTES);
    await writeFile(image, bytes);
    await host().putImage(image, 'turned.raw', { sidecar: true });
    await sh(`touch ${MARK}`);
    await letHold(host(), ['cryptsetup', 'lvm']);
    for (const name of ['k0', 'k1', 'k2', 'k3', 'k4', 'k5']) await sh(`lvp key create file:${name}`);
    await define(host(), { name: 'turned', image: 'turned.raw', key: 'file:k0' });
  });

  it('opens the volume that was filled with it', async () => {
    await published(host(), 'turned');
    await sh('sync');
    expect([await slots(), await opens('k0'), await opens('k1')]).toEqual([1, true, false]);
  });

  it.each([
    ['k0', 'k1', 'before', 'cryptsetup luksAddKey *'],
    ['k1', 'k2', 'after', 'cryptsetup luksAddKey *'],
    ['k2', 'k3', 'before', 'cryptsetup luksKillSlot *'],
    ['k3', 'k4', 'after', 'cryptsetup luksKillSlot *'],
  ] as const)('%s becomes %s, the power cut %s "%s"', async (old, next, when, call) => {
    await holdAt(host(), when, call);
    await sh(`nohup lvp key rotate turned vda --to file:${next} >/run/rotate.out 2>&1 & sleep 0`);
    await untilHeld(host());
    const start = await host().sh('virsh start turned', { reject: false, timeoutMs: 180_000 });
    expect(start.exitCode).not.toBe(0);
    // Why differs: while the helper is held, the gate can read nothing either. The words are the unit test's.
    expect(start.stderr).toContain('domain turned is not started');
    await host().kill();
    await host().boot();
    const named = (await annotated())?.replace('file:', '') ?? '';
    expect(await opens(named)).toBe(true);
    await eventually(`the rotation to ${next} is over`, async () =>
      (await slots()) === 1 && (await annotated()) === `file:${next}` ? true : undefined,
    );
    expect([await opens(next), await opens(old)]).toEqual([true, false]);
    // All that can be seen from outside may be done while it is still being written down.
    await eventually('nothing is left to be done', async () => {
      const again = await host().sh(`lvp key rotate turned vda --to file:${next}`, { reject: false });
      return again.exitCode === 2 && again.stderr.includes('already, and no other opens its volume')
        ? true
        : undefined;
    });
  });

  it('is replaced, tried by the gate and by QEMU, and not while the guest runs', async () => {
    const dry = await sh('lvp key rotate turned vda --to file:k5 --dry-run');
    expect(dry).toContain('Nothing was changed.');
    expect(await annotated()).toBe('file:k4');
    expect(await sh('lvp key rotate turned vda --to file:k5')).toContain('lvp key revoke file:k4');
    expect([await slots(), await opens('k4'), await opens('k5')]).toEqual([1, false, true]);
    await sh('virsh start turned');
    const refused = await host().sh('lvp key rotate turned vda --to file:k4', { reject: false });
    expect(refused.exitCode).toBe(5);
    expect(refused.stderr).toContain('the domain is running');
    const erased = await host().sh('lvp incident crypto-erase turned vda --confirm vg0/turned', {
      reject: false,
    });
    expect(erased.exitCode).toBe(5);
    await sh('virsh destroy turned');
    const audit = await sh('lvp audit --json');
    for (const what of ['key add', 'key annotate', 'key remove']) expect(audit).toContain(`"${what}"`);
  });

  it('opens nothing for a guest once crypto-erase has begun, the power cut before "cryptsetup erase"', async () => {
    await holdAt(host(), 'before', 'cryptsetup erase *');
    // As long as the start before may be under way it is refused.
    const erase = 'lvp incident crypto-erase turned vda --confirm vg0/turned';
    await sh(`nohup sh -c 'until ${erase}; do sleep 1; done' >/run/erase.out 2>&1 & sleep 0`);
    await untilHeld(host());
    await host().kill();
    await host().boot();
    expect([await slots(), await opens('k5')]).toEqual([1, true]);
    await eventually('the daemon says why', async () =>
      (await sh('lvp explain turned')).includes('was cut off') ? true : undefined,
    );
    const start = await host().sh('virsh start turned', { reject: false, timeoutMs: 180_000 });
    expect(start.exitCode).not.toBe(0);
    expect(start.stderr).toContain('Finish it: lvp incident crypto-erase vg0/turned');
  });

  it('is no more after crypto-erase, for nobody', async () => {
    await eventually('nobody has it open', async () =>
      (await sh('lvs --noheadings -o lv_device_open vg0/turned')).trim() === '' ? true : undefined,
    );
    // `qemu-img info` would not try the key.
    const read = `qemu-io -r -c 'read 0 512' --object secret,id=k,file=/run/k5 --image-opts driver=luks,key-secret=k,file.driver=host_device,file.filename=${VOLUME}`;
    const readByQemu = async () => (await host().sh(read, { reject: false })).exitCode;
    await sh(`umask 077; systemd-creds decrypt --name=lvp-key-k5 ${KEYS}/k5.cred /run/k5`);
    expect(await readByQemu()).toBe(0);
    expect(await sh('lvp incident crypto-erase turned vda --confirm vg0/turned')).toContain(
      'unreadable for ever',
    );
    for (const name of ['k0', 'k1', 'k2', 'k3', 'k4', 'k5'])
      expect([name, await opens(name)]).toEqual([name, false]);
    expect(await readByQemu()).not.toBe(0);
    await sh('rm /run/k5');
    const start = await host().sh('virsh start turned', { reject: false, timeoutMs: 180_000 });
    expect(start.exitCode).not.toBe(0);
    expect(start.stderr).toContain('was made unreadable by lvp incident crypto-erase');
    expect((await host().sh('lvp status turned', { reject: false })).stdout).toContain('crypto-erase');
    expect(await sh('lvp explain turned')).toContain('crypto-erase');
  });

  testCutFills(host, folder);

  it('stands nowhere while the host is busy: a fill, a running guest, and rotations behind it, cut off or not', async () => {
    await putRandomImages(host(), folder(), { 'slow.raw': 64 });
    for (const name of ['busy', 'busy-2', 'slow']) await sh(`lvp key create file:${name}`);
    await define(host(), { name: 'busy', image: 'turned.raw', key: 'file:busy' });
    await published(host(), 'busy');
    await sh('lvp key rotate busy vda --to file:busy-2; virsh start busy');
    try {
      await beginSlowFill(host(), { name: 'slow', image: 'slow.raw', key: 'file:slow' });
      const all = await sh(
        `for file in ${KEYS}/*.cred; do
           name=$(basename $file .cred); systemd-creds decrypt --name=lvp-key-$name $file -; echo; done`,
      );
      expect(all.trim().split('\n').length).toBeGreaterThanOrEqual(9);
      const { found, secrets } = await tracesOf(host(), all, MARK);
      expect(found).toEqual([]);
      expect(secrets).toBe(1);
    } finally {
      await limitRate(host(), undefined);
    }
    // In which arguments and environments were looked for, too.
    const called = await sh(`cat ${CALLED}`);
    for (const call of ['luksFormat', 'luksAddKey', 'luksKillSlot', 'open'])
      expect(called).toContain(`cryptsetup ${call} `);
  });
});

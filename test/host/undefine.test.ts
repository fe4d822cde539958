/**
 * The end of a volume's life on a real libvirt: what is deleted, what is kept, and what `lvp gc` says of it. One
 * boot for all cases, in which each case leaves to the next what it has not deleted.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Finding } from '../../src/core/garbage-protocol.ts';
import { eventually } from './host.ts';
import { define, domainXml, published, useProvisionedHost } from './provisioned-host.ts';

/** The pause, and what a busy machine takes for reading every domain. */
const DELETED_WITHIN_MS = 300_000;
const DELETE = 'on-undefine="delete"';

describe('an undefined domain', () => {
  const { host, folder } = useProvisionedHost('undefine');
  const sh = async (script: string) => (await host().sh(script, { timeoutMs: 240_000 })).stdout;

  beforeAll(async () => {
    const image = join(folder(), 'small.raw');
    const { stdout: sector } = await execa(join(import.meta.dirname, 'boot-sector'), { encoding: 'buffer' });
    await writeFile(image, Buffer.concat([sector, Buffer.alloc((1 << 20) - sector.length, 0x42)]));
    await host().putImage(image, 'small.raw', { sidecar: true });
    for (const [name, attributes] of [
      ['goes', DELETE],
      ['stays', ''],
      ['shared', DELETE],
      ['unseen', DELETE],
      ['passing', DELETE],
    ] as const) {
      await define(host(), { name, image: 'small.raw', attributes });
      await published(host(), name);
    }
  });

  const volumes = async () =>
    (await sh('lvs --noheadings -o lv_name vg0')).split(/\s+/).filter(Boolean).sort();
  const gc = async (options = '') => {
    const { stdout, exitCode } = await host().sh(`lvp gc --json ${options}`, { reject: false });
    return { exitCode, findings: (JSON.parse(stdout) as { findings: Finding[] }).findings };
  };
  const isGone = (lv: string) =>
    eventually(`${lv} is deleted`, async () => ((await volumes()).includes(lv) ? undefined : true), {
      timeoutMs: DELETED_WITHIN_MS,
      intervalMs: 1_000,
    });
  const journalSays = (text: string, name: string) =>
    eventually(
      `the journal says of ${name}: ${text}`,
      async () => {
        const log = await sh('journalctl -o cat -u libvirt-volume-provisioner');
        return log.split('\n').some((line) => line.includes(text) && line.includes(name)) || undefined;
      },
      { timeoutMs: DELETED_WITHIN_MS, intervalMs: 1_000 },
    );

  it('leaves nothing to be collected while it is there', async () => {
    expect(await gc('--dry-run')).toEqual({ exitCode: 0, findings: [] });
  });

  it('has its volume deleted if its annotation says so, in libvirt too, and no other', async () => {
    await sh('virsh undefine goes && virsh undefine stays');
    await isGone('goes');
    expect(await volumes()).toEqual(['passing', 'shared', 'stays', 'unseen']);
    expect(await sh('virsh vol-list guests')).not.toContain('goes');
    expect(await sh('virsh pool-info guests')).toMatch(/State: +running/);
    const { findings } = await gc('--dry-run');
    expect(findings).toMatchObject([{ kind: 'orphan', name: 'vg0/stays', action: 'none' }]);
    expect(findings[0]?.hint).toContain('virsh vol-delete --pool guests stays');
  });

  it('keeps a volume that another domain names, for as long as it does', async () => {
    await define(host(), { name: 'other', lv: 'shared' });
    await sh('virsh undefine shared');
    await journalSays('but it is kept', 'vg0/shared');
    expect(await volumes()).toContain('shared');
    const ending = expect.objectContaining({ kind: 'ending', name: 'vg0/shared', done: false }) as Finding;
    expect((await gc()).findings).toContainEqual(ending);
    await sh('virsh undefine other');
    await isGone('shared');
  });

  it('that went while nobody looked keeps its volume, until somebody says how many there are', async () => {
    await sh(
      `systemctl stop libvirt-volume-provisioner
       virsh undefine unseen
       systemctl start libvirt-volume-provisioner`,
    );
    await journalSays('but it is kept', 'vg0/unseen');
    const about = { kind: 'orphan', name: 'vg0/unseen', action: 'delete' };
    const kept = expect.objectContaining({ ...about, done: false }) as Finding;
    expect((await gc('--dry-run')).findings).toContainEqual(kept);
    expect((await gc()).findings).toContainEqual(kept);
    const refused = await host().sh('lvp gc --delete-orphans --confirm 7', { reject: false });
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain('there are 1 volumes');
    expect(await volumes()).toContain('unseen');
    const { exitCode, findings } = await gc('--delete-orphans --confirm 1');
    expect(findings).toContainEqual(expect.objectContaining({ ...about, done: true }) as Finding);
    // The volume without such an annotation is left.
    expect(exitCode).toBe(6);
    expect(await volumes()).toEqual(['passing', 'stays']);
  });

  it('that is created again at once keeps its volume, until it is destroyed', async () => {
    const uuid = (await sh('virsh domuuid passing')).trim();
    const xml = domainXml({ name: 'passing', image: 'small.raw', attributes: DELETE, uuid });
    await host().sh('cat >/tmp/passing.xml && virsh undefine passing && virsh create /tmp/passing.xml', {
      input: xml,
      timeoutMs: 240_000,
    });
    // Looked at once more, the domain is there, and nothing is to be deleted.
    await sh('lvp list');
    expect((await gc('--dry-run')).findings).toMatchObject([{ kind: 'orphan', name: 'vg0/stays' }]);
    await sh('virsh destroy passing');
    await isGone('passing');
    expect((await gc()).findings).toMatchObject([{ kind: 'orphan', name: 'vg0/stays' }]);
  });

  it('and all others outlive a ledger that cannot be read', async () => {
    await define(host(), { name: 'again', image: 'small.raw' });
    await published(host(), 'again');
    await sh(
      `systemctl stop libvirt-volume-provisioner
       printf 'no database at all' | dd of=/var/lib/libvirt-volume-provisioner/ledger.db conv=notrunc status=none
       systemctl start libvirt-volume-provisioner`,
    );
    await published(host(), 'again');
    await journalSays('the ledger was damaged', 'ledger.db.damaged-');
    const [damaged] = (await gc()).findings.filter(({ kind }) => kind === 'damaged-ledger');
    expect(damaged?.name).toContain('ledger.db.damaged-2');
  });
});

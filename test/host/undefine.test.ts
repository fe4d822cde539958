/**
 * The end of a volume's life on a real libvirt: what is deleted, what is kept, and what `lvp gc` says of it. One
 * boot for all cases, in which each case leaves to the next what it has not deleted.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Finding } from '../../src/core/protocol/garbage-protocol.ts';
import { eventually } from './host.ts';
import { define, domainXml, published, useProvisionedHost } from './provisioned-host.ts';

/** The pause, and what a busy machine takes for reading every domain. */
const DELETED_WITHIN_MS = 300_000;
const DELETE = 'on-undefine="delete"';
const DAEMON = 'libvirt-volume-provisioner';
const LEDGER = '/var/lib/libvirt-volume-provisioner/ledger.db';
const DOMAINS = ['again', 'goes', 'passing', 'shared', 'stays', 'unseen'];

describe('an undefined domain', () => {
  const { host, folder } = useProvisionedHost('undefine');
  const sh = async (script: string, input = '') =>
    (await host().sh(script, { timeoutMs: 240_000, input })).stdout;

  beforeAll(async () => {
    const image = join(folder(), 'small.raw');
    const { stdout: sector } = await execa(join(import.meta.dirname, 'boot-sector'), { encoding: 'buffer' });
    await writeFile(image, Buffer.concat([sector, Buffer.alloc((1 << 20) - sector.length, 0x42)]));
    await host().putImage(image, 'small.raw', { sidecar: true });
    for (const name of DOMAINS) {
      await define(host(), { name, image: 'small.raw', attributes: name === 'stays' ? '' : DELETE });
    }
    for (const name of DOMAINS) await published(host(), name);
    await define(host(), { name: 'other', lv: 'shared' });
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
        const log = await sh(`journalctl -o cat -u ${DAEMON}`);
        return log.split('\n').some((line) => line.includes(text) && line.includes(name)) || undefined;
      },
      { timeoutMs: DELETED_WITHIN_MS, intervalMs: 1_000 },
    );
  const containing = (finding: Partial<Finding>) => expect.objectContaining(finding) as Finding;

  it('leaves nothing to be collected while it is there', async () => {
    expect(await gc('--dry-run')).toEqual({ exitCode: 0, findings: [] });
  });

  it('has its volume deleted if its annotation says so, in libvirt too, and no other', async () => {
    const uuid = (await sh('virsh domuuid passing')).trim();
    await sh('for name in goes stays shared; do virsh undefine $name; done');
    // A definition that is replaced, here by a domain without one: it is the same guest's volume.
    await sh(
      'cat >/tmp/passing.xml && virsh undefine passing && virsh create /tmp/passing.xml',
      domainXml({ name: 'passing', image: 'small.raw', attributes: DELETE, uuid }),
    );
    await isGone('goes');
    await journalSays('but it is kept', 'vg0/shared');
    expect(await volumes()).toEqual(['again', 'passing', 'shared', 'stays', 'unseen']);
    expect(await sh('virsh vol-list guests')).not.toContain('goes');
    expect(await sh('virsh pool-info guests')).toMatch(/State: +running/);
    const { exitCode, findings } = await gc('--dry-run');
    expect(exitCode).toBe(6);
    expect(findings.toSorted((a, b) => a.name.localeCompare(b.name))).toMatchObject([
      { kind: 'ending', name: 'vg0/shared', action: 'none' },
      { kind: 'orphan', name: 'vg0/stays', action: 'none' },
    ]);
    expect(findings.find(({ name }) => name === 'vg0/stays')?.hint).toContain(
      'virsh vol-delete --pool guests stays',
    );
  });

  it('whose end is proven has its volume deleted as soon as nobody names it, and one that went unseen has not', async () => {
    await sh(
      `virsh undefine other; systemctl stop ${DAEMON}; virsh undefine unseen; systemctl start ${DAEMON}`,
    );
    await isGone('shared');
    await journalSays('but it is kept', 'vg0/unseen');
    expect(await volumes()).toEqual(['again', 'passing', 'stays', 'unseen']);
  });

  it('and transient has its volume deleted when it was destroyed', async () => {
    await sh('virsh destroy passing');
    await isGone('passing');
  });

  it('keeps a volume that may have to be deleted until somebody says how many there are', async () => {
    const about: Partial<Finding> = { kind: 'orphan', name: 'vg0/unseen', action: 'delete' };
    expect((await gc()).findings).toContainEqual(containing({ ...about, done: false }));
    const refused = await host().sh('lvp gc --delete-orphans --confirm 7', { reject: false });
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain('there are 1 volumes');
    expect(await volumes()).toEqual(['again', 'stays', 'unseen']);
    const { exitCode, findings } = await gc('--delete-orphans --confirm 1');
    expect(findings).toContainEqual(containing({ ...about, done: true }));
    // The volume without such an annotation is left.
    expect(exitCode).toBe(6);
    expect(await volumes()).toEqual(['again', 'stays']);
  });

  it.each([
    ['deleted', `rm ${LEDGER}*`],
    ['unreadable', `printf 'no database at all' | dd of=${LEDGER} conv=notrunc status=none`],
  ])('and all others outlive a ledger that was %s, which their seals bring back', async (_how, disturb) => {
    await sh(`systemctl stop ${DAEMON}; ${disturb}; systemctl start ${DAEMON}`);
    await published(host(), 'again');
    expect((await gc()).findings).not.toContainEqual(containing({ kind: 'volume-without-row' }));
    expect(await volumes()).toEqual(['again', 'stays']);
  });

  it('keeps its volume if the ledger that knew of its last run was lost', async () => {
    await journalSays('the ledger was damaged', 'ledger.db.damaged-');
    await sh('virsh undefine again');
    await journalSays('but it is kept', 'vg0/again');
    const { findings } = await gc();
    expect(findings).toContainEqual(containing({ kind: 'orphan', name: 'vg0/again', done: false }));
    expect(findings.find(({ kind }) => kind === 'damaged-ledger')?.name).toContain('ledger.db.damaged-2');
    expect(await volumes()).toEqual(['again', 'stays']);
  });
});

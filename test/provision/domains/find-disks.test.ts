/** Goal: the disks of all domains, with the volume behind each or why there is none. */
import { describe, expect, it } from 'vitest';
import { DISKS_OF_MAX, findDisks } from '../../../src/provision/domains/find-disks.ts';

const POOL = { name: 'guests', vg: 'vg0', active: true };
const disk = (target: string, source: string, device = 'disk') =>
  `<disk type="${source.startsWith('dev') ? 'block' : 'volume'}" device="${device}"><source ${source}/><target dev="${target}"/></disk>`;

function xmlOf(number: number, disks: string, metadata = ''): string {
  const uuid = `9d3a4b1c-0000-4000-8000-${String(number).padStart(12, '0')}`;
  return `<domain><name>vm${number}</name><uuid>${uuid}</uuid>${metadata}<devices>${disks}</devices></domain>`;
}

function hostWith(xmls: readonly (string | undefined)[]) {
  return {
    domains: {
      list: () => Promise.resolve(xmls.map((_, at) => String(at))),
      xml: (uuid: string) => Promise.resolve(xmls[Number(uuid)]),
    },
    pools: { list: () => Promise.resolve([POOL as never]) },
  };
}

const ANNOTATION =
  '<metadata><vp:provision xmlns:vp="urn:libvirt-volume-provisioner:domain:1">' +
  '<vp:volume target="vdb" image="images/a.raw" format="raw"/></vp:provision></metadata>';

describe('the disks of a host', () => {
  it('are shown by domain, annotated or not, with their volumes', async () => {
    const disks = [
      disk('vda', 'pool="guests" volume="root"'),
      disk('vdb', 'dev="/dev/vg0/data"'),
      disk('sda', 'dev="/dev/sr0"', 'cdrom'),
    ];
    const { domains, more } = await findDisks(hostWith([xmlOf(2, ''), xmlOf(1, disks.join(''), ANNOTATION)]));
    expect(domains.map(({ name }) => name)).toEqual(['vm1', 'vm2']);
    expect(domains[0]?.disks).toMatchObject([
      { target: 'vda', pool: 'guests', volume: 'root' },
      { target: 'vdb', pool: 'guests', volume: 'data', image: 'images/a.raw' },
      { target: 'sda', problem: { code: 'DISK_UNSUITABLE' } },
    ]);
    expect(domains[0]?.disks[2]).not.toHaveProperty('volume');
    expect(more).toBe(false);
  });

  it('are said to be encrypted, and are no problem for that', async () => {
    const encrypted = disk('vda', 'dev="/dev/vg0/root"').replace(
      '"/dev/vg0/root"/>',
      '"/dev/vg0/root"><encryption format="luks"><secret type="passphrase" usage="/dev/vg0/root"/></encryption></source>',
    );
    const { domains } = await findDisks(hostWith([xmlOf(1, encrypted + disk('vdb', 'dev="/dev/vg0/data"'))]));
    expect(domains[0]?.disks).toEqual([
      { target: 'vda', pool: 'guests', volume: 'root', encrypted: true },
      { target: 'vdb', pool: 'guests', volume: 'data', encrypted: false },
    ]);
  });

  it('are those of domains that are there and can be read', async () => {
    const { domains } = await findDisks(hostWith([undefined, '<domain/>', xmlOf(3, '')]));
    expect(domains.map(({ name }) => name)).toEqual(['vm3']);
  });

  it('are asked for of so many domains, and no more', async () => {
    const { domains, more } = await findDisks(
      hostWith(Array.from({ length: DISKS_OF_MAX + 1 }, (_, at) => xmlOf(at, ''))),
    );
    expect([domains.length, more]).toEqual([DISKS_OF_MAX, true]);
  });
});

/** Goal: no refresh of ours meets a change of ours to the names in its group, and nothing else waits. */
import { describe, expect, it } from 'vitest';
import type { Pools } from '../../../src/provision/ports/libvirt.ts';
import type { Volumes } from '../../../src/provision/ports/volumes.ts';
import { takingTurns } from '../../../src/provision/pools/taking-turns.ts';

const volume = { vg: 'vg0', fillId: 'f'.repeat(16), target: 'vm1', domainUuid: 'uuid' };
const seal = { state: 'ready' as const, ...volume, image: 'images/a', sha256: 'a'.repeat(64), generation: 1 };

/** Ports that do nothing until they are let, and note what they were asked for. */
function heldPorts() {
  const begun: string[] = [];
  const letGo: ((error?: Error) => void)[] = [];
  const held = (name: string) => () => {
    begun.push(name);
    return new Promise<never>((resolve, reject) => {
      letGo.push((error) => {
        if (error === undefined) resolve(undefined as never);
        else reject(error);
      });
    });
  };
  const named = (...names: string[]) => Object.fromEntries(names.map((name) => [name, held(name)]));
  const volumes = named('create', 'adopt', 'publish', 'retire', 'restore', 'discard', 'claim', 'examine');
  const pools = {
    ...named('refresh', 'start', 'deleteVolume'),
    list: () =>
      Promise.resolve([
        { name: 'guests', uuid: '', vg: 'vg0', active: true },
        { name: 'others', uuid: '', vg: 'vg1', active: true },
      ]),
  };
  return { begun, letGo, ports: takingTurns(volumes as unknown as Volumes, pools as unknown as Pools) };
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('a refresh that is under way', () => {
  it.each<[string, (volumes: Volumes) => Promise<unknown>]>([
    ['create', (volumes) => volumes.create(volume, 1)],
    ['adopt', (volumes) => volumes.adopt(volume)],
    ['publish', (volumes) => volumes.publish(volume, seal)],
    ['retire', (volumes) => volumes.retire('vg0', seal)],
    ['restore', (volumes) => volumes.restore('vg0', seal)],
    ['discard', (volumes) => volumes.discard(volume)],
  ])('has ended before a %s in its group begins, even if it fails', async (name, change) => {
    const { begun, letGo, ports } = heldPorts();
    await ports.pools.list();
    const refresh = ports.pools.refresh('guests').catch((error: unknown) => error);
    void change(ports.volumes);
    await settle();
    expect(begun).toEqual(['refresh']);
    letGo[0]?.(new Error('busy'));
    expect(await refresh).toEqual(new Error('busy'));
    await settle();
    expect(begun).toEqual(['refresh', name]);
  });

  it('keeps nobody waiting in another group, nor what changes no name', async () => {
    const { begun, ports } = heldPorts();
    await ports.pools.list();
    for (const pool of ['guests', 'others', 'unknown']) void ports.pools.refresh(pool);
    void ports.volumes.examine('vg0', 'vm1');
    void ports.volumes.claim('vg0', seal, 'uuid');
    void ports.pools.deleteVolume('guests', 'vm1');
    await settle();
    expect(begun.toSorted()).toEqual(['claim', 'deleteVolume', 'examine', 'refresh', 'refresh', 'refresh']);
  });
});

it('a volume that is being published is finished before the refresh that was asked for', async () => {
  const { begun, letGo, ports } = heldPorts();
  await ports.pools.list();
  void ports.volumes.publish(volume, seal);
  void ports.pools.refresh('guests');
  void ports.volumes.create(volume, 1);
  await settle();
  expect(begun).toEqual(['publish']);
  letGo[0]?.();
  await settle();
  expect(begun).toEqual(['publish', 'refresh']);
  letGo[1]?.();
  await settle();
  expect(begun).toEqual(['publish', 'refresh', 'create']);
});

/** A world with a thin pool, and who asks for golden volumes in it. */
import { createHash } from 'node:crypto';
import type { GoldenRequest, GoldenRun, GoldenVolume } from '../../src/provision/golden/golden-volumes.ts';
import { MIB, silent, World } from './world.ts';

/** A group with a thin pool of 256 MiB. */
export function thinWorld(options: ConstructorParameters<typeof World>[0] = {}): World {
  const world = new World(options);
  world.volumes.thinPools.set('vg0', 'pool0');
  world.volumes.lvm.addPool('pool0', { usedBytes: 0, metadataUsedBytes: 0 });
  world.restart();
  return world;
}

export function run(signal = new AbortController().signal): GoldenRun {
  return { signal, log: silent, phase: () => undefined, progress: () => undefined };
}

export function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Puts an image into the store. */
export function imageIn(
  world: World,
  key: string,
  fill: number,
): GoldenRequest & { readonly sha256: string } {
  const bytes = Buffer.alloc(MIB, fill);
  world.images.objects.set(`images/${key}`, bytes);
  return { image: { bucket: 'images', key }, format: 'raw', sha256: digestOf(bytes) };
}

/** Has it made golden, and its seal say that it holds so much of the pool. */
export async function goldenOf(
  world: World,
  request: GoldenRequest,
  mappedBytes = MIB,
): Promise<GoldenVolume> {
  const { lv } = await world.goldens.ensure('vg0', request, run());
  await world.goldens.idle();
  const volume = world.volumes.lvm.get(lv);
  volume.tags = volume.tags.map((tag) => (tag.startsWith('lvp:mapped:') ? `lvp:mapped:${mappedBytes}` : tag));
  const golden = (await world.goldens.list()).find((one) => one.lv === lv);
  if (golden === undefined) throw new Error(`${lv} is gone`);
  return golden;
}

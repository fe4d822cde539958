/**
 * Goal: whatever the order in which readings and new volumes are asked for, done and answered, no two fills
 * count on the same space, and none is refused for space that nobody takes. Method: a volume group in which
 * each of these moments is a step of its own, in any order.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ProvisionError, toProblem } from '../../src/core/errors.ts';
import type { LogicalVolume } from '../../src/core/volume/volume.ts';
import { fillTags, privateName } from '../../src/core/volume/volume.ts';
import type { PrivateVolume, Volumes } from '../../src/provision/ports/volumes.ts';
import { RecentListing } from '../../src/provision/recent-listing.ts';
import type { Wanted } from '../../src/provision/reservations.ts';
import { Reservations } from '../../src/provision/reservations.ts';
import { silent } from './world.ts';

const EXTENT_BYTES = 10;
const VG = 'vg0';

interface Fill {
  readonly sizeBytes: number;
  /** How its volume is made: as asked for, not at all, or without anybody being told. */
  readonly how: 'made' | 'fails' | 'answer lost';
  /** A fill that ends badly gives its volume back. */
  readonly isGivenBack: boolean;
}

const POOL = 'pool0';

/** Every effect and every answer waits until its turn comes. What is thin is in a pool as large as the group. */
class Group {
  readonly extents: number;
  readonly #step: () => Promise<void>;
  readings = 0;
  volumes: LogicalVolume[] = [];
  onMade: () => void = () => undefined;

  constructor(extents: number, step: () => Promise<void>) {
    this.extents = extents;
    this.#step = step;
  }

  get freeBytes(): number {
    const used = this.volumes.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return this.extents * EXTENT_BYTES - used;
  }

  async list() {
    await this.#step();
    const { freeBytes } = this;
    const sizeBytes = this.extents * EXTENT_BYTES;
    const group = { vg: VG, sizeBytes, freeBytes, extentBytes: EXTENT_BYTES, shared: false };
    const pool = { vg: VG, lv: POOL, sizeBytes, usedBytes: 0, metadataBytes: 2 ** 30, metadataUsedBytes: 0 };
    const thinPools = [{ ...pool, chunkBytes: EXTENT_BYTES, zeroes: true, active: true }];
    const listing = { volumes: [...this.volumes], groups: [group], thinPools };
    this.readings += 1;
    await this.#step();
    return listing;
  }

  async create(volume: Wanted, { sizeBytes, how }: Fill): Promise<void> {
    await this.#step();
    if (how !== 'fails') {
      const { thinPool } = volume;
      const lv = lvOf(volume, Math.ceil(sizeBytes / EXTENT_BYTES) * EXTENT_BYTES);
      this.volumes.push(thinPool === undefined ? lv : { ...lv, segmentType: 'thin', thinPool });
      this.onMade();
    }
    await this.#step();
    if (how !== 'made') throw new ProvisionError({ code: 'HELPER_FAILED', message: how });
  }

  async remove({ fillId }: PrivateVolume): Promise<void> {
    await this.#step();
    this.volumes = this.volumes.filter(({ lv }) => lv !== privateName(fillId));
  }
}

function lvOf(volume: PrivateVolume, sizeBytes: number): LogicalVolume {
  return {
    ...{ vg: VG, lv: privateName(volume.fillId), uuid: volume.fillId, sizeBytes, tags: fillTags(volume) },
    ...{ active: true, open: false, segmentType: 'linear', writable: true },
  };
}

function volumeOf(index: number): PrivateVolume {
  return {
    ...{ vg: VG, fillId: index.toString(16).padStart(16, '0'), target: `vm${index}` },
    domainUuid: `00000000-0000-4000-8000-${index.toString(16).padStart(12, '0')}`,
  };
}

const golden = { fillId: 'f'.repeat(16), sha256: 'ab'.repeat(32), format: 'raw' };

const fills: fc.Arbitrary<Fill[]> = fc.array(
  fc.record({
    sizeBytes: fc.integer({ min: 1, max: 60 }),
    how: fc.constantFrom<Fill['how']>('made', 'made', 'fails', 'answer lost'),
    isGivenBack: fc.boolean(),
  }),
  { minLength: 1, maxLength: 8 },
);

/** Runs them all at once; resolves with the codes of those that failed. */
async function runAll(group: Group, reservations: Reservations, all: readonly Fill[]): Promise<string[]> {
  const codes: string[] = [];
  await Promise.all(
    all.map(async (fill, index) => {
      const volume = volumeOf(index);
      try {
        await reservations.whileReserved(volume, fill.sizeBytes, () => group.create(volume, fill));
      } catch (error) {
        codes.push(toProblem(error).code);
      }
      if (fill.isGivenBack) await group.remove(volume);
    }),
  );
  return codes;
}

describe('space that is promised', () => {
  it('is never promised twice, and what is to stay free stays free', async () => {
    await fc.assert(
      fc.asyncProperty(
        ...([
          fc.scheduler(),
          fills,
          fc.integer({ min: 0, max: 30 }),
          fc.integer({ min: 0, max: 50 }),
        ] as const),
        async (scheduler, all, extents, keptBytes) => {
          const group = new Group(extents, () => scheduler.schedule(Promise.resolve()));
          const keepFree = new Map([[VG, { bytes: keptBytes }]]);
          const reservations = new Reservations({ volumes: group, log: silent, keepFree });
          let leastBytes = Infinity;
          group.onMade = () => {
            leastBytes = Math.min(leastBytes, group.freeBytes);
          };
          await scheduler.waitFor(runAll(group, reservations, all));
          expect(leastBytes).toBeGreaterThanOrEqual(keptBytes);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('is refused to nobody where there is room for all', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fills, async (scheduler, all) => {
        const extents = all.reduce((sum, { sizeBytes }) => sum + Math.ceil(sizeBytes / EXTENT_BYTES), 0);
        const group = new Group(extents, () => scheduler.schedule(Promise.resolve()));
        const reservations = new Reservations({ volumes: group, log: silent });
        const codes = await scheduler.waitFor(runAll(group, reservations, all));
        expect(codes).not.toContain('VG_FULL');
        // Nothing is held for fills that have ended.
        const rest = { sizeBytes: group.freeBytes, how: 'made', isGivenBack: false } as const;
        const last = volumeOf(99);
        await scheduler.waitFor(
          reservations.whileReserved(last, rest.sizeBytes, () => group.create(last, rest)),
        );
      }),
      { numRuns: 500 },
    );
  });
});

describe('space of a thin pool that is promised by what was just read', () => {
  /** The group as a port, past which a listing is remembered; no time passes. */
  function remembering(group: Group, sizes: ReadonlyMap<string, Fill>) {
    const port: Partial<Volumes> = {
      list: () => group.list(),
      clone: async (volume, _golden, sizeBytes) => {
        const { fillId } = volume;
        await group.create({ ...volume, thinPool: POOL }, {
          how: 'made',
          ...sizes.get(fillId),
          sizeBytes,
        } as Fill);
        return { made: 'created', sizeBytes };
      },
      discard: (volume) => group.remove(volume as PrivateVolume),
    };
    return new RecentListing(port as Volumes, { monotonicMs: () => 0 });
  }

  it('is never promised twice', async () => {
    let shared = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fills,
        fc.integer({ min: 0, max: 30 }),
        async (scheduler, all, extents) => {
          const group = new Group(extents, () => scheduler.schedule(Promise.resolve()));
          const sizes = new Map(all.map((fill, index) => [volumeOf(index).fillId, fill]));
          const listings = remembering(group, sizes);
          const { volumes } = listings;
          let wanted = 0;
          let leastBytes = Infinity;
          group.onMade = () => {
            leastBytes = Math.min(leastBytes, group.freeBytes);
          };
          const reservations = new Reservations({ volumes, recentListing: listings, log: silent });
          const fillOne = async ({ sizeBytes, isGivenBack }: Fill, index: number): Promise<void> => {
            const volume = volumeOf(index);
            // As a fill begins: with a look at everything.
            await volumes.list();
            wanted += 1;
            const make = () => volumes.clone(volume, golden, sizeBytes);
            await reservations
              .whileReserved({ ...volume, thinPool: POOL }, sizeBytes, make)
              .catch(() => undefined);
            if (isGivenBack) await volumes.discard(volume);
          };
          await scheduler.waitFor(Promise.all(all.map(fillOne)));
          expect(leastBytes).toBeGreaterThanOrEqual(0);
          if (group.readings < 2 * wanted) shared += 1;
        },
      ),
      { numRuns: 500 },
    );
    expect(shared).toBeGreaterThan(0);
  });
});

describe('a fill without room', () => {
  const atOnce = () => Promise.resolve();
  const large = { sizeBytes: 60, how: 'made', isGivenBack: false } as const;

  it('is told all numbers, and nothing is made', async () => {
    const group = new Group(10, atOnce);
    const keepFree = new Map([[VG, { percent: 20 }]]);
    const reservations = new Reservations({ volumes: group, log: silent, keepFree });
    const first = reservations.whileReserved(volumeOf(1), 45, () => new Promise(() => undefined));
    void first;
    const second = reservations.whileReserved(volumeOf(2), 60, () => group.create(volumeOf(2), large));
    await expect(second).rejects.toMatchObject({
      code: 'VG_FULL',
      message:
        'vg0 has too little room for the volume vm2: wanted are 60 bytes (60 B); free are 100 bytes (100 B), of which 50 bytes (50 B) are reserved for other fills and 20 bytes (20 B) are to stay free.',
    });
    expect(group.volumes).toEqual([]);
  });

  it('is told once there is room, not before, and once', async () => {
    const group = new Group(10, atOnce);
    group.volumes = [lvOf(volumeOf(1), 50)];
    const reservations = new Reservations({ volumes: group, log: silent });
    const told: string[] = [];
    reservations.onRoom = (uuid) => told.push(uuid);
    const refused = reservations.whileReserved(volumeOf(2), 60, () => group.create(volumeOf(2), large));
    await expect(refused).rejects.toThrow(/too little room/);
    const look = async () => {
      reservations.lookAgain();
      for (let turn = 0; turn < 20; turn++) await Promise.resolve();
      return told;
    };
    expect(await look()).toEqual([]);
    group.volumes = [];
    expect(await look()).toEqual([volumeOf(2).domainUuid]);
    expect(await look()).toEqual([volumeOf(2).domainUuid]);
  });

  it('needs none for a volume that is there already', async () => {
    const group = new Group(6, atOnce);
    group.volumes = [lvOf(volumeOf(1), 60)];
    const reservations = new Reservations({ volumes: group, log: silent });
    expect(await reservations.whileReserved(volumeOf(1), 60, () => Promise.resolve('existing'))).toBe(
      'existing',
    );
  });
});

it('what is left is told with what is promised and what is to stay free', async () => {
  const group = new Group(10, () => Promise.resolve());
  const keepFree = new Map([[VG, { percent: 15 }]]);
  const reservations = new Reservations({ volumes: group, log: silent, keepFree });
  const made = Promise.withResolvers<undefined>();
  const fill = reservations.whileReserved(volumeOf(1), 45, async () => {
    await made.promise;
    await group.create(volumeOf(1), { sizeBytes: 45, how: 'made', isGivenBack: false });
  });
  const about = { vg: VG, sizeBytes: 100, keepFreeBytes: 20 };
  expect(await reservations.space()).toEqual([{ ...about, freeBytes: 100, reservedBytes: 50 }]);
  made.resolve(undefined);
  await fill;
  expect(await reservations.space()).toEqual([{ ...about, freeBytes: 50, reservedBytes: 0 }]);
});

/** Goal: each change for the worse or the better is said once, of each pool. Method: pools by what they have in use. */
import { describe, expect, it } from 'vitest';
import type { ThinPool } from '../../../src/core/volume/volume.ts';
import { ThinPoolNews } from '../../../src/provision/golden/thin-pool-news.ts';
import type { Log } from '../../../src/provision/ports/host.ts';

function pool(dataPercent: number, metadataPercent = 0, lv = 'pool0'): ThinPool {
  return {
    ...{ vg: 'vg0', lv, sizeBytes: 1000, usedBytes: 10 * dataPercent, chunkBytes: 1 },
    // So large that what LVM wants free of it is less than what the limits say.
    ...{ metadataBytes: 100 << 20, metadataUsedBytes: metadataPercent << 20, zeroes: true, active: true },
  };
}

function listening() {
  const said: string[] = [];
  const at = (level: string) => (fields: object, message: string) => {
    const { pool: name, usedPercent } = fields as { readonly pool: string; readonly usedPercent: number };
    said.push(`${level} ${name} ${usedPercent} % ${message}`);
  };
  const log: Log = {
    ...{ debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    child: () => log,
  };
  const news = new ThinPoolNews({ overcommit: 1, warnPercent: 80, stopPercent: 95 }, log);
  const hear = (...pools: ThinPool[]) => {
    news.look(pools);
    return said.splice(0);
  };
  return hear;
}

const WARNED = 'a thin pool runs full';
const STOPPED = 'a thin pool is full: no more volumes are made in it';

describe('of a thin pool', () => {
  it('nothing is said while it has room', () => {
    const hear = listening();
    expect([...hear(pool(0)), ...hear(pool(79.9)), ...hear()]).toEqual([]);
  });

  it('is said once that it runs full, that it is full, and that it has room again', () => {
    const hear = listening();
    expect(hear(pool(80))).toEqual([`warn vg0/pool0 80 % ${WARNED}`]);
    expect(hear(pool(94.9))).toEqual([]);
    expect(hear(pool(95))).toEqual([`error vg0/pool0 95 % ${STOPPED}`]);
    expect(hear(pool(100))).toEqual([]);
    expect(hear(pool(90))).toEqual([`warn vg0/pool0 90 % ${WARNED}`]);
    expect(hear(pool(10))).toEqual(['info vg0/pool0 10 % a thin pool has room again']);
    expect(hear(pool(10))).toEqual([]);
    expect(hear(pool(80))).toEqual([`warn vg0/pool0 80 % ${WARNED}`]);
  });

  it('counts whichever is fuller of data and metadata', () => {
    const hear = listening();
    expect(hear(pool(10, 96))).toEqual([`error vg0/pool0 96 % ${STOPPED}`]);
    expect(hear(pool(85, 10))).toEqual([`warn vg0/pool0 85 % ${WARNED}`]);
  });

  it('is said that its metadata are full while LVM makes nothing more, however small they are', () => {
    const hear = listening();
    const small = (percent: number) => ({
      ...pool(10),
      ...{ metadataBytes: 100 << 10, metadataUsedBytes: percent << 10 },
    });
    expect(hear(small(62))).toEqual([]);
    expect(hear(small(63))).toEqual([`warn vg0/pool0 63 % ${WARNED}`]);
    expect(hear(small(75))).toEqual([`error vg0/pool0 75 % ${STOPPED}`]);
  });

  it('is said that it is broken, however much room it has', () => {
    const hear = listening();
    expect(hear({ ...pool(10), health: 'needs_check' })).toEqual([
      'error vg0/pool0 10 % a thin pool is not in order: no more volumes are made in it',
    ]);
    expect(hear({ ...pool(10), health: 'out_of_data' })).toEqual([`error vg0/pool0 10 % ${STOPPED}`]);
    expect(hear(pool(10))).toEqual(['info vg0/pool0 10 % a thin pool has room again']);
  });

  it('each has its own', () => {
    const hear = listening();
    expect(hear(pool(85), pool(10, 0, 'pool1'))).toEqual([`warn vg0/pool0 85 % ${WARNED}`]);
    expect(hear(pool(85), pool(85, 0, 'pool1'))).toEqual([`warn vg0/pool1 85 % ${WARNED}`]);
  });
});

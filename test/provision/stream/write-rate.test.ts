/**
 * Goal: all fills together write as fast as is allowed, no faster and no slower, in turn, and whoever gives up
 * does so at once. Method: time that only moves when everybody waits.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Clock } from '../../../src/provision/ports/host.ts';
import type { VolumeDevice } from '../../../src/provision/ports/volumes.ts';
import { paced, WriteRate } from '../../../src/provision/stream/write-rate.ts';
import { Agenda } from '../../simulation/agenda.ts';

const MIB = 2 ** 20;
const never = new AbortController().signal;

/** A clock over the agenda that counts the sleeps; timers may be late, as Node's are. */
function clockOf(agenda: Agenda, lateMs = 0) {
  const slept = { begun: 0, underWay: 0 };
  const clock: Clock = {
    nowMs: () => agenda.nowMs,
    monotonicMs: () => agenda.elapsedMs,
    sleep: (durationMs, signal) =>
      new Promise((resolve, reject) => {
        slept.begun += 1;
        slept.underWay += 1;
        const drop = agenda.after(durationMs + lateMs, () => {
          slept.underWay -= 1;
          resolve();
        });
        signal?.addEventListener('abort', () => {
          drop();
          slept.underWay -= 1;
          reject(signal.reason as Error);
        });
      }),
  };
  return { clock, slept };
}

describe('a write rate', () => {
  it.each([0, 3, 40])('is reached and kept when timers are %i ms late', async (lateMs) => {
    const agenda = new Agenda();
    const { clock, slept } = clockOf(agenda, lateMs);
    const rate = new WriteRate(clock, 100 * MIB);
    let doneBytes = 0;
    const fill = async (): Promise<void> => {
      for (let count = 0; count < 250; count++) {
        await rate.take(MIB, never);
        doneBytes += MIB;
        // What has been let through is never more than the rate, a write and what timers may be late by.
        expect(doneBytes).toBeLessThanOrEqual(100 * MIB * (agenda.elapsedMs / 1000 + 0.05) + MIB + 1);
      }
    };
    const all = Promise.all([fill(), fill(), fill(), fill()]);
    await agenda.run(agenda.nowMs + 60_000, () => doneBytes === 1000 * MIB);
    await all;
    expect(agenda.elapsedMs).toBeGreaterThanOrEqual(9_900);
    expect(agenda.elapsedMs).toBeLessThanOrEqual(10_100);
    // One sleep lets at least one write through: nobody looks again and again.
    expect(slept.begun).toBeLessThanOrEqual(1000);
  });

  it('is kept over any stretch of time, whoever writes what', async () => {
    const writes = fc.array(
      fc.record({ bytes: fc.integer({ min: 1, max: 1000 }), atMs: fc.nat({ max: 5000 }) }),
      { minLength: 1, maxLength: 30 },
    );
    await fc.assert(
      fc.asyncProperty(writes, fc.integer({ min: 1, max: 500 }), async (all, bytesPerSecond) => {
        const agenda = new Agenda();
        const rate = new WriteRate(clockOf(agenda).clock, bytesPerSecond);
        const done: { atMs: number; bytes: number }[] = [];
        for (const { bytes, atMs } of all) {
          agenda.after(atMs, () => {
            void rate.take(bytes, never).then(() => done.push({ atMs: agenda.elapsedMs, bytes }));
          });
        }
        await agenda.run(agenda.nowMs + 1e9, () => done.length === all.length);
        for (const [from, { atMs }] of done.entries()) {
          let bytes = 0;
          for (const later of done.slice(from)) {
            // All before this one fits into the time between them.
            expect(bytes).toBeLessThanOrEqual(((later.atMs - atMs + 50) / 1000) * bytesPerSecond + 1);
            bytes += later.bytes;
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  it('lets go at once of who gives up, charges nothing for it, and sleeps for nobody', async () => {
    const agenda = new Agenda();
    const { clock, slept } = clockOf(agenda);
    const rate = new WriteRate(clock, MIB);
    await rate.take(10 * MIB, never);
    const abort = new AbortController();
    const first = rate.take(100 * MIB, abort.signal);
    const second = rate.take(MIB, abort.signal);
    expect(slept.underWay).toBe(1);
    abort.abort(new Error('not wanted'));
    await expect(first).rejects.toThrow('not wanted');
    await expect(second).rejects.toThrow('not wanted');
    await expect(rate.take(1, abort.signal)).rejects.toThrow('not wanted');
    expect([agenda.elapsedMs, slept.underWay]).toEqual([0, 0]);
    let isDone = false;
    void rate.take(MIB, never).then(() => (isDone = true));
    await agenda.run(agenda.nowMs + 60_000, () => isDone);
    // Only the ten that were written before.
    expect(agenda.elapsedMs).toBeLessThanOrEqual(10_000);
    expect(agenda.elapsedMs).toBeGreaterThanOrEqual(9_900);
  });

  it('gives everybody a turn in the order of asking', async () => {
    const agenda = new Agenda();
    const rate = new WriteRate(clockOf(agenda).clock, MIB);
    const order: string[] = [];
    const fill = async (name: string): Promise<void> => {
      for (let count = 0; count < 3; count++) {
        await rate.take(MIB, never);
        order.push(name);
      }
    };
    const all = Promise.all([fill('a'), fill('b')]);
    await agenda.run(agenda.nowMs + 60_000, () => order.length === 6);
    await all;
    expect(order).toEqual(['a', 'b', 'a', 'b', 'a', 'b']);
  });
});

describe('a paced device', () => {
  function deviceOf(written: [offsetBytes: number, bytes: number][]): VolumeDevice {
    const nothing = () => Promise.resolve();
    return {
      ...{ sizeBytes: 100 * MIB, zero: nothing, read: nothing, sync: nothing, close: nothing },
      write: (bytes, offsetBytes) => {
        written.push([offsetBytes / MIB, bytes.length / MIB]);
        return offsetBytes === 50 * MIB ? Promise.reject(new Error('EIO')) : Promise.resolve();
      },
    };
  }

  it('is written to in pieces, all of them, where they belong', async () => {
    const agenda = new Agenda();
    const written: [number, number][] = [];
    const device = paced(deviceOf(written), new WriteRate(clockOf(agenda).clock, MIB), never);
    let isDone = false;
    void device.write(new Uint8Array(2.5 * MIB), 7 * MIB).then(() => (isDone = true));
    await agenda.run(agenda.nowMs + 60_000, () => isDone);
    expect(written).toEqual([
      [7, 1],
      [8, 1],
      [9, 0.5],
    ]);
    // Without the first, which costs nobody a wait.
    expect(Math.round(agenda.elapsedMs / 100)).toBe(20);
  });

  it('does not let writes wait behind one that has failed', async () => {
    const agenda = new Agenda();
    const device = paced(deviceOf([]), new WriteRate(clockOf(agenda).clock, MIB), never);
    const failing = device.write(new Uint8Array(MIB), 50 * MIB);
    const behind = device.write(new Uint8Array(MIB), 0);
    await expect(failing).rejects.toThrow('EIO');
    await expect(behind).rejects.toThrow('EIO');
    expect(agenda.elapsedMs).toBe(0);
  });
});

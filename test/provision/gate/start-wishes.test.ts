/** Goal: an autostart that the hook alone has refused at boot is made good once, and nothing else is started. */
import { describe, expect, it } from 'vitest';
import { openLedger } from '../../../src/adapters/ledger.ts';
import { wishMissedAutostarts } from '../../../src/provision/gate/start-wishes.ts';
import { until, World } from '../world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';

/** A domain in the middle of its fill, in a boot that the ledger knows; then the machine is started anew. */
async function rebooted(options: { readonly autostart: boolean; readonly isReady?: boolean }) {
  const world = new World();
  wishMissedAutostarts({ boots: world.ledger, ledger: world.ledger }, 'first boot');
  if (options.isReady !== true) world.images.hold();
  world.define({ uuid, name: 'vm1', autostart: options.autostart });
  const state = options.isReady === true ? 'ready' : 'filling';
  await until(state, () => world.ledger.fillOf(uuid, 'vda')?.state === state);
  const row = world.ledger.fillOf(uuid, 'vda');
  await world.reconciler.stop();
  await world.fills.stop();
  if (row !== undefined) world.ledger.putFill(row);
  world.restart();
  world.images.letGo();
  return world;
}

async function looksAtEverything(world: World): Promise<void> {
  await world.reconciler.requestAll();
  await until('ready', () => world.ledger.fillOf(uuid, 'vda')?.state === 'ready');
  await until('at rest', () => !world.reconciler.isBusy && world.fills.running.size === 0);
}

describe('a boot that the daemon was late for', () => {
  it('ends with an autostarted domain started once, when its volumes are ready', async () => {
    const world = await rebooted({ autostart: true });
    wishMissedAutostarts({ boots: world.ledger, ledger: world.ledger }, 'second boot');
    await looksAtEverything(world);
    await until('started', () => world.libvirt.started.length === 1);
    wishMissedAutostarts({ boots: world.ledger, ledger: world.ledger }, 'second boot');
    await looksAtEverything(world);
    expect(world.libvirt.started).toEqual([uuid]);
  });

  it.each([
    ['one that is not autostarted', { autostart: false }, 'second boot'],
    [
      'one that was ready, which libvirt has started itself',
      { autostart: true, isReady: true },
      'second boot',
    ],
    ['anything in a boot in which it has run before', { autostart: true }, 'first boot'],
  ] as const)('does not start %s', async (_what, options, boot) => {
    const world = await rebooted(options);
    wishMissedAutostarts({ boots: world.ledger, ledger: world.ledger }, boot);
    await looksAtEverything(world);
    expect(world.libvirt.started).toEqual([]);
  });

  it('cannot be told by a ledger that was lost', async () => {
    const world = await rebooted({ autostart: true });
    const boots = openLedger(':memory:').ledger;
    wishMissedAutostarts({ boots, ledger: world.ledger }, 'second boot');
    expect(boots.lastBoot()).toBe('second boot');
    await looksAtEverything(world);
    expect(world.libvirt.started).toEqual([]);
  });
});

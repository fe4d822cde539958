/** Goal: what the tests of this folder take for the helper keeps what the helper keeps. */
import { describe } from 'vitest';
import { keepsContractOfVolumes } from '../helper/volumes-contract.ts';
import { World } from './world.ts';

describe('volumes in memory', () => {
  keepsContractOfVolumes(() => {
    const { volumes } = new World();
    volumes.thinPools.set('vg0', 'pool0');
    if (volumes.lvm.find('pool0') === undefined) volumes.lvm.addPool('pool0');
    return Promise.resolve({ volumes, model: volumes.lvm });
  });
});

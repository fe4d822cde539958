/** What a volume holds, and that nobody writes to it once it is finished. */
import type { Mutant } from './mutant.ts';

export const BYTES: readonly Mutant[] = [
  {
    name: 'nothing is synced before the seal',
    killedBy: 'exact-bytes',
    changes: [{ file: 'provision/stream/stream-image.ts', from: 'await options.device.sync();', to: '' }],
  },
  {
    name: 'the digest is not compared',
    killedBy: 'exact-bytes',
    changes: [
      {
        file: 'core/images/proof.ts',
        from: 'if (expected === undefined || expected === found) return;',
        to: 'if (expected !== found || expected === found) return;',
      },
    ],
  },
  {
    name: 'the tail of the volume is not zeroed',
    killedBy: 'exact-bytes',
    changes: [
      {
        file: 'provision/stream/stream-image.ts',
        from: 'await zero(run, offsetBytes, lengthBytes);',
        to: '',
      },
    ],
  },
  {
    name: 'a journal is written before the disk has the bytes',
    killedBy: 'exact-bytes',
    changes: [{ file: 'provision/stream/checkpoints.ts', from: 'await device.sync();', to: '' }],
  },
  {
    name: 'a journal is written before the device has the bytes',
    killedBy: 'exact-bytes',
    changes: [{ file: 'provision/stream/checkpoints.ts', from: 'await Promise.all(working);', to: '' }],
  },
  {
    name: 'an interrupted write is taken for a finished one',
    killedBy: 'exact-bytes',
    changes: [
      { file: 'provision/stream/stream-image.ts', from: 'await work.writes.drain();', to: '' },
      { file: 'provision/stream/lanes.ts', from: 'this.#failure ??= { error };', to: 'void error;' },
    ],
  },
  {
    name: 'what is read back may be anything',
    killedBy: 'exact-bytes',
    changes: [
      {
        file: 'provision/stream/read-back.ts',
        from: 'if (device.difference !== undefined) throw differs(deviceName, device.difference);',
        to: 'void differs;',
      },
    ],
  },
  {
    name: 'the node is not taken from the service user before the seal',
    killedBy: 'no-write-after-seal',
    changes: [{ file: 'helper/publish.ts', from: 'row = await withdraw(tools, held);', to: '' }],
  },
  {
    name: 'a volume on which a guest has run is given to the next try',
    killedBy: 'exact-bytes',
    changes: [
      {
        file: 'core/plan/input.ts',
        from: 'return input.firstStarts.get(domainUuid) === input.domain.name;',
        to: 'return domainUuid !== input.domain.uuid;',
      },
    ],
  },
];

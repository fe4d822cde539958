/**
 * A process that reads a key as the daemon does, hands it on to the helper, and reads it again some times: to be searched
 * from outside. Its task is one line of JSON on its standard input. It wipes what it has read when it gets another line.
 */
import { createInterface } from 'node:readline';
import { BarbicanKeys } from '../../../src/adapters/key/barbican.ts';
import { FileKeys } from '../../../src/adapters/key/files.ts';
import { LvmHelper } from '../../../src/adapters/lvm-helper.ts';
import type { KeyReference } from '../../../src/core/key/key-reference.ts';
import type { Keys } from '../../../src/provision/ports/keys.ts';
import type { PrivateVolume } from '../../../src/provision/ports/volumes.ts';

export interface ReaderTask {
  readonly reference: KeyReference;
  /** Of the helper. */
  readonly socket: string;
  /** Undefined for a key of a file. */
  readonly barbican:
    | {
        readonly url: string;
        readonly authUrl: string;
        readonly ca: string;
        readonly credentialId: string;
        readonly credentialSecret: string;
      }
    | undefined;
}

const VOLUME: PrivateVolume = {
  ...{ vg: 'vg0', target: 'vda', encryption: 'luks1' as const },
  ...{ fillId: '5a7a2d9e95d3', domainUuid: '5a7a2d9e-95d3-4a3c-bb6e-6e1c2b2f8f60' },
};

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const next = async () => String((await lines.next()).value);

const { reference, socket, barbican } = JSON.parse(await next()) as ReaderTask;
const { luks } = new LvmHelper(socket);
const keys = providerOf(barbican);
const read = async () => keys.read(reference, new AbortController().signal);
const handedOn = await read();
await luks.formatLuks(VOLUME, handedOn);
handedOn.wipe();
// Nothing is done after these that could need the memory that they gave back.
const read8 = await Promise.all(Array.from({ length: 8 }, read));
process.stdout.write('read\n');
await next();
for (const key of read8) key.wipe();
process.stdout.write('wiped\n');
// Until it is killed.
await next();

function providerOf(of: ReaderTask['barbican']): Keys {
  if (of === undefined) return new FileKeys(luks);
  const { url, authUrl, ca, credentialId, credentialSecret } = of;
  return new BarbicanKeys(
    {
      ...{ url: new URL(url), authUrl: new URL(authUrl), ca, applicationCredentialId: credentialId },
      applicationCredentialSecret: { reveal: () => credentialSecret },
    },
    { limitMs: 30_000 },
  );
}

/** A thread that hashes and decompresses what stands in the memory of workshops. Started by ../threads.ts. */
import { parentPort } from 'node:worker_threads';
import type { Compression } from '../../core/images/layout.ts';
import type { Sha256 } from '../../core/images/resumable-sha256.ts';
import { resumableSha256 } from '../../core/images/resumable-sha256.ts';
import { CLUSTER_OVERRUN_BYTES } from '../../provision/ports/workshop.ts';
import type { DecompressCluster } from './inflater.ts';
import { DamagedCluster, clusterDecompressor } from './inflater.ts';
import type { Decompress, Reply, Work } from './messages.ts';
import { zeroRange } from './zero-range.ts';

interface Bench {
  readonly memory: Uint8Array;
  readonly hash: Sha256;
}

const benches = new Map<number, Bench>();
const decompressors = new Map<Compression, DecompressCluster>();

function work(message: Work): Omit<Reply, 'id'> {
  if (message.kind === 'open') {
    const hash = resumableSha256(message.hashFrom);
    benches.set(message.workshop, { memory: new Uint8Array(message.memory), hash });
    return {};
  }
  if (message.kind === 'zero') {
    return { zeroed: zeroRange(message.fd, message.offsetBytes, message.lengthBytes) };
  }
  const bench = benches.get(message.workshop);
  if (bench === undefined) throw new Error(`workshop ${message.workshop} is not open`);
  switch (message.kind) {
    case 'hash':
      bench.hash.update(
        bench.memory.subarray(message.offsetBytes, message.offsetBytes + message.lengthBytes),
      );
      return {};
    case 'state':
      return { state: bench.hash.state() };
    case 'digest':
      return { digest: bench.hash.digest() };
    case 'decompress':
      return decompress(bench.memory, message);
    case 'close':
      benches.delete(message.workshop);
      return {};
  }
}

function decompress(memory: Uint8Array, message: Decompress): Omit<Reply, 'id'> {
  const { compression, clusterBytes, targetBytes, inputs } = message;
  const decompressCluster = decompressors.get(compression) ?? clusterDecompressor(compression);
  decompressors.set(compression, decompressCluster);
  let stray = 0;
  for (let index = 0; index < inputs.length / 2; index++) {
    const offsetBytes = inputs[2 * index] ?? -1;
    const lengthBytes = inputs[2 * index + 1] ?? 0;
    const input =
      offsetBytes < 0
        ? (message.strays[stray++] ?? new Uint8Array())
        : memory.subarray(offsetBytes, offsetBytes + lengthBytes);
    const start = targetBytes + index * clusterBytes;
    // One that is too long runs over into the next one's place, which is written after it.
    const room = memory.subarray(start, start + clusterBytes + CLUSTER_OVERRUN_BYTES);
    try {
      const outBytes = decompressCluster(input, room);
      if (outBytes === clusterBytes) continue;
      const many = outBytes === room.length ? `more than ${clusterBytes}` : String(outBytes);
      return { damaged: { index, found: `decompresses to ${many} bytes` } };
    } catch (error) {
      if (!(error instanceof DamagedCluster)) throw error;
      return { damaged: { index, found: error.message } };
    }
  }
  return {};
}

parentPort?.on('message', (message: Work) => {
  let reply: Reply;
  try {
    reply = { id: message.id, ...work(message) };
  } catch (error) {
    reply = { id: message.id, error: error instanceof Error ? error.message : String(error) };
  }
  parentPort?.postMessage(reply);
});

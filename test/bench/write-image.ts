/**
 * Fills block devices from an image as a daemon that already runs does, without libvirt and LVM around it:
 *
 * write-image.ts [OPTIONS] ENDPOINT BUCKET/KEY FORMAT SHA256 DEVICE...
 *   --warm KEY,SHA256,DEVICE  a small qcow2 image to fill DEVICE from before the clock starts: by then the
 *                             modules are compiled, the threads run and the store has a connection to us
 *   --state DIR               for the cache and the journals; a temporary folder by default
 *   --cache BYTES             how much of a cache the host keeps; 0 by default, as for the daemon
 *   --apart                   every fill reads for itself, as if each had another image
 *   --store PID               whose processor time and sent bytes to report as well
 *
 * Keys come from MINIO_ROOT_USER and MINIO_ROOT_PASSWORD, a CA file from BENCH_CA. Prints a report as JSON.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '../../src/adapters/clock.ts';
import { SystemDecompressors } from '../../src/adapters/decompressors.ts';
import { watchEventLoop } from '../../src/adapters/event-loop-delay.ts';
import { JournalFolder } from '../../src/adapters/fill-journals.ts';
import { ImageFolder } from '../../src/adapters/image-cache.ts';
import { openLog } from '../../src/adapters/log.ts';
import { MinioImages } from '../../src/adapters/minio/images.ts';
import { WorkerThreads } from '../../src/adapters/threads.ts';
import type { VolumeRequest } from '../../src/core/request.ts';
import { LeasedImage } from '../../src/provision/fill/leased-image.ts';
import type { ImageLease } from '../../src/provision/ports/image-cache.ts';
import { writeImage } from '../../src/provision/fill/write-image.ts';
import { peakBytes, usageOf, usageSince } from './usage.ts';
import { DeviceVolumes } from './volumes.ts';

export interface WriteReport {
  readonly durationMs: number;
  /** Largest resident memory of the process, the warming up included. */
  readonly peakBytes: number;
  readonly cpuS: number;
  /** How long the program's thread was busy with one thing, or waited for a processor, at the most. */
  readonly longestStillMs: number;
  /** Where each device's image came from. */
  readonly from: readonly ImageLease['from'][];
  /** 0 without --store. */
  readonly storeCpuS: number;
  readonly storeSentBytes: number;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    warm: { type: 'string' },
    state: { type: 'string' },
    cache: { type: 'string', default: '0' },
    apart: { type: 'boolean', default: false },
    store: { type: 'string' },
  },
});
const [endpoint = '', name = '', format = '', sha256 = '', ...devices] = positionals;
const [bucket = '', key = ''] = name.split('/');
const ca = process.env['BENCH_CA'] ?? '';
const state = values.state ?? mkdtempSync(join(tmpdir(), 'lvp-bench-'));
const log = openLog('silent', 'json');
const images = new MinioImages({
  endpoint,
  accessKey: process.env['MINIO_ROOT_USER'] ?? '',
  secretKey: process.env['MINIO_ROOT_PASSWORD'] ?? '',
  caPem: ca === '' ? undefined : readFileSync(ca, 'utf8'),
});
const budgetBytes = Number(values.cache);
const cache = new ImageFolder({ folder: join(state, 'cache'), store: images, log, budgetBytes });
const threads = new WorkerThreads();
const volumes = new DeviceVolumes();
const needs = {
  ...{ images, cache, volumes, devices: volumes, clock: systemClock, workshops: threads },
  journals: new JournalFolder(join(state, 'journals')),
  decompressors: new SystemDecompressors(),
  policy: {
    requireDigest: true,
    virtualSizeMaxBytes: 2 * 1024 ** 4,
    expansion: { ratioMax: 2000, timeMaxMs: 3_600_000 },
  },
};
/** Fills that are not through yet. */
const unfinished = new Set<string>();

/** As in fillVolume(), from the object to the synced and verified device. */
async function fill(request: VolumeRequest, path: string): Promise<ImageLease['from']> {
  const volume = volumes.add(path);
  const { fillId } = volume;
  unfinished.add(fillId);
  const run = {
    signal: new AbortController().signal,
    log,
    isImageWanted: () => !values.apart && [...unfinished].some((other) => other !== fillId),
    phase: () => undefined,
    progress: () => undefined,
    from: () => undefined,
  };
  const leased = new LeasedImage(needs, request, run);
  try {
    const found = await leased.use((image) => writeImage(needs, volume, image, run));
    await leased.keep(found);
    await needs.journals.remove(fillId);
    return leased.from;
  } finally {
    unfinished.delete(fillId);
    await leased.close();
  }
}

function requestOf(keyOfImage: string, digest: string, formatOfImage: string): VolumeRequest {
  return {
    ...{ target: 'vda', generation: 1, image: { bucket, key: keyOfImage }, sha256: digest },
    format: formatOfImage === 'raw' ? 'raw' : 'qcow2',
  };
}

await cache.open();
if (values.warm !== undefined) {
  const [warmKey = '', warmSha256 = '', device = ''] = values.warm.split(',');
  await fill(requestOf(warmKey, warmSha256, 'qcow2'), device);
}
const store = values.store === undefined ? undefined : Number(values.store);
const before = { own: usageOf('self'), store: store === undefined ? undefined : usageOf(store) };
let longestStillMs = 0;
const stopWatching = watchEventLoop(log, Infinity, (lateMs) => {
  longestStillMs = Math.max(longestStillMs, Math.round(lateMs));
});
const startMs = performance.now();
const from = await Promise.all(devices.map((device) => fill(requestOf(key, sha256, format), device)));
const durationMs = performance.now() - startMs;
stopWatching();
const { cpuS } = usageSince(before.own, 'self');
const atStore =
  store === undefined || before.store === undefined
    ? { cpuS: 0, writtenBytes: 0 }
    : usageSince(before.store, store);
await threads.end();
images.close();
if (values.state === undefined) rmSync(state, { recursive: true });
const report: WriteReport = {
  ...{ durationMs, peakBytes: peakBytes(), cpuS, longestStillMs, from },
  ...{ storeCpuS: atStore.cpuS, storeSentBytes: atStore.writtenBytes },
};
process.stdout.write(`${JSON.stringify(report)}\n`);

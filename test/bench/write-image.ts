/**
 * Fills block devices from an image as the daemon does, without libvirt and LVM around it:
 * write-image.ts ENDPOINT BUCKET/KEY FORMAT SHA256 DEVICE...
 * Keys come from MINIO_ROOT_USER and MINIO_ROOT_PASSWORD, a CA file from BENCH_CA. Prints a report as JSON.
 */
import { readFileSync } from 'node:fs';
import { openBlockDevice } from '../../src/adapters/block-device.ts';
import { systemClock } from '../../src/adapters/clock.ts';
import { MinioImages } from '../../src/adapters/minio-images.ts';
import { WorkerThreads } from '../../src/adapters/threads.ts';
import { readLayout, streamImage } from '../../src/provision/stream-image.ts';

export interface WriteReport {
  readonly durationMs: number;
  /** Largest resident memory of the process. */
  readonly peakBytes: number;
}

const [endpoint = '', name = '', format = '', expectedSha256 = '', ...devices] = process.argv.slice(2);
const [bucket = '', key = ''] = name.split('/');
const ca = process.env['BENCH_CA'] ?? '';
const images = new MinioImages({
  endpoint,
  accessKey: process.env['MINIO_ROOT_USER'] ?? '',
  secretKey: process.env['MINIO_ROOT_PASSWORD'] ?? '',
  caPem: ca === '' ? undefined : readFileSync(ca, 'utf8'),
});
const threads = new WorkerThreads();

async function fill(path: string): Promise<void> {
  const object = await images.stat({ bucket, key });
  const { signal } = new AbortController();
  const source = { images, object, clock: systemClock, signal };
  const layout = await readLayout(source, format === 'raw' ? 'raw' : 'qcow2', 2 ** 50);
  const device = await openBlockDevice(path);
  await streamImage({ ...source, layout, device, workshops: threads, expectedSha256 });
  await device.close();
}

const startMs = performance.now();
await Promise.all(devices.map(fill));
const durationMs = performance.now() - startMs;
await threads.end();
images.close();
const peakKib = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
const report: WriteReport = { durationMs, peakBytes: Number(peakKib) * 1024 };
process.stdout.write(`${JSON.stringify(report)}\n`);

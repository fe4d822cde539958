/** The work of `lvp image write`, apart from its options: what it needs takes time to load. */
import { stat } from 'node:fs/promises';
import { openBlockDevice, openVolumeFile } from '../../adapters/block-device.ts';
import { systemClock } from '../../adapters/clock.ts';
import type { Config } from '../../adapters/config-file.ts';
import { loadConfig } from '../../adapters/config-file.ts';
import { SystemDecompressors } from '../../adapters/decompressors.ts';
import { openMinio } from '../../adapters/minio/images.ts';
import { WorkerThreads } from '../../adapters/threads.ts';
import type { ImageRequest } from '../../core/protocol/image-protocol.ts';
import { resolveImage } from '../../provision/fill/resolve-image.ts';
import { volumeRequestOf } from '../../provision/images/image-verbs.ts';
import type { VolumeDevice } from '../../provision/ports/volumes.ts';
import { readBack } from '../../provision/stream/read-back.ts';
import type { StreamProgress } from '../../provision/stream/stream-image.ts';
import { streamImage } from '../../provision/stream/stream-image.ts';
import { serviceEnvironment } from '../program/service-environment.ts';
import type { Progress } from '../terminal/progress.ts';
import { refuseUnlessBlank } from './blank-target.ts';

export interface WriteRequest {
  readonly image: ImageRequest;
  readonly device: string;
  readonly overwrite: boolean;
  /** Nothing is written where the image has a hole. */
  readonly assumeZero: boolean;
  /** Whether the device is then read and compared; the configuration's verify.read_back is for fills. */
  readonly readBack: boolean;
  readonly configFile: string;
}

export async function writeToDevice(request: WriteRequest, begin: () => Promise<Progress>) {
  const progress = await begin();
  const volume = volumeRequestOf(request.image);
  const { configFile } = request;
  const { config } = loadConfig({ path: configFile, env: serviceEnvironment(configFile) });
  const needs = needsOf(config);
  const stop = new AbortController();
  const onInterrupt = () => {
    stop.abort();
  };
  process.once('SIGINT', onInterrupt);
  const device = await openTarget(request.device);
  try {
    if (!request.overwrite) await refuseUnlessBlank(request.device, device);
    const { object, layout, proof, outer, judgedSha256 } = await resolveImage(needs, volume, stop.signal);
    // Judging the image may have taken an hour, and QEMU does not claim what it writes to.
    if (!request.overwrite) await refuseUnlessBlank(request.device, device);
    const way = { ...needs, object, layout, outer, device, signal: stop.signal };
    const streamed = await streamImage({
      ...{ ...way, proof, expectedSha256: judgedSha256, isDeviceZero: request.assumeZero },
      onProgress: showing(progress),
    });
    const { seconds } = progress;
    const { sha256, writtenBytes, zeroedBytes } = streamed;
    if (request.readBack) {
      progress.end();
      const again = await begin();
      const onProgress = showing(again);
      await readBack({ ...way, sha256, deviceName: request.device, onProgress }).finally(again.end);
    }
    const proven = Object.values(proof).some((stated) => stated !== undefined);
    return {
      ...{
        image: request.image.image,
        device: request.device,
        sha256,
        proven,
        objectBytes: object.sizeBytes,
      },
      ...{ writtenBytes, zeroedBytes, seconds, readBack: request.readBack },
    };
  } finally {
    progress.end();
    process.off('SIGINT', onInterrupt);
    await device.close();
    needs.images.close();
  }
}

function showing(progress: Progress): (streamed: StreamProgress) => void {
  return ({ objectBytes, objectSizeBytes }) => {
    progress.show(objectBytes, objectSizeBytes);
  };
}

function needsOf(config: Config) {
  const { minio, limits } = config;
  const images = openMinio(minio);
  return {
    images,
    clock: systemClock,
    decompressors: new SystemDecompressors(),
    workshops: new WorkerThreads(),
    policy: {
      ...config.integrity,
      buckets: minio.buckets,
      virtualSizeMaxBytes: limits.virtualSizeMaxBytes,
      expansion: { ratioMax: limits.expansionMax, timeMaxMs: limits.decompressionTimeMaxMs },
    },
  };
}

async function openTarget(path: string): Promise<VolumeDevice> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() === true ? openVolumeFile(path) : openBlockDevice(path);
}

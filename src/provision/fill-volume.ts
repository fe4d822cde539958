/**
 * The recipe of a fill, from an object in a bucket to a published volume. Each step can be interrupted by a
 * power cut; tags and ledger then say where it stood (docs/design.md, "The life of a volume").
 */
import { ProvisionError, toProblem } from '../core/errors.ts';
import { imageName } from '../core/request.ts';
import { imageTag, privateName } from '../core/volume.ts';
import { discardVolume } from './discard-volume.ts';
import type { FillRun, FillTask } from './fills.ts';
import { FillsStopped } from './fills.ts';
import type {
  Clock,
  FillRecord,
  Images,
  Log,
  Pools,
  PrivateVolume,
  VolumeDevices,
  Volumes,
} from './ports.ts';
import { publishVolume } from './publish-volume.ts';
import type { ImagePolicy, ResolvedImage } from './resolve-image.ts';
import { resolveImage, wantedSizeBytes } from './resolve-image.ts';
import { streamImage } from './stream-image.ts';

export interface FillNeeds {
  readonly images: Images;
  readonly pools: Pools;
  readonly volumes: Volumes;
  readonly devices: VolumeDevices;
  readonly clock: Clock;
  readonly policy: ImagePolicy;
  /** Memory for one fill, at least two ranges of it; by default each fill has its own. */
  readonly memory?: (() => ArrayBufferLike) | undefined;
}

/** Fills and publishes one volume; resolves with the SHA-256 of the image it now holds. */
export async function fillVolume(
  needs: FillNeeds,
  record: FillRecord,
  task: FillTask,
  run: FillRun,
): Promise<string> {
  const { location, request, fillId, domainUuid } = record;
  const volume: PrivateVolume = { vg: location.vg, fillId, target: location.lv, domainUuid };
  const publishing = { ...needs, log: run.log };
  if (task.from === 'finish') {
    await publishVolume(publishing, volume, task.seal, location.pool);
    return task.seal.sha256;
  }
  if (task.from === 'claim') {
    await needs.volumes.claim(location.vg, task.seal, domainUuid);
    return task.seal.sha256;
  }
  const image = await resolveImage(needs, request, run.signal);
  run.log.info(
    { image: imageName(request.image), etag: image.object.etag, version: image.object.version },
    'image pinned',
  );
  try {
    const sizeBytes = wantedSizeBytes(request, image.layout);
    await (task.from === 'adopt' ? adopt(needs, volume, sizeBytes) : needs.volumes.create(volume, sizeBytes));
    run.log.debug({ sizeBytes, from: task.from }, 'private volume made');
    run.signal.throwIfAborted();
    const sha256 = await writeImage(needs, volume, image, run);
    run.log.debug({ sha256 }, 'written and synced');
    // Nobody wants it any more, or wants it from another image.
    run.signal.throwIfAborted();
    run.phase('publishing');
    const seal = {
      state: 'ready' as const,
      ...{ fillId, target: volume.target, domainUuid, sha256 },
      image: imageTag(request.image),
      generation: request.generation,
    };
    await publishVolume(publishing, volume, seal, location.pool);
    return sha256;
  } catch (error) {
    const goesOnLater = run.signal.reason instanceof FillsStopped;
    if (!goesOnLater) await returnSpace(needs, volume, location.pool, run.log);
    throw error;
  }
}

/** Checks the size before taking a volume over: one that is too small stays as it was. */
async function adopt(needs: FillNeeds, volume: PrivateVolume, sizeBytes: number): Promise<void> {
  const { volumes } = await needs.volumes.list();
  const found = volumes.find(({ vg, lv }) => vg === volume.vg && lv === volume.target);
  if (found === undefined) {
    // Whoever had made it has removed it again, or an earlier try has given it the private name already.
    await needs.volumes.create(volume, sizeBytes);
    return;
  }
  if (found.sizeBytes < sizeBytes) {
    throw new ProvisionError({
      code: 'IMAGE_TOO_LARGE',
      message: `Volume ${volume.vg}/${volume.target} has ${found.sizeBytes} bytes, the fill needs ${sizeBytes}.`,
      hint: 'It was left untouched. Delete it (virsh vol-delete) to have one of the right size made, or use a smaller image.',
    });
  }
  await needs.volumes.adopt(volume);
}

/** Streams, syncs, checks the digest, and closes the device again: publish wants nobody to have it open. */
async function writeImage(
  needs: FillNeeds,
  volume: PrivateVolume,
  image: ResolvedImage,
  run: FillRun,
): Promise<string> {
  const device = await needs.devices.open(volume.vg, privateName(volume.fillId));
  try {
    run.phase('filling', image.object.sizeBytes);
    const { sha256 } = await streamImage({
      ...{ images: needs.images, clock: needs.clock, device, object: image.object, layout: image.layout },
      expectedSha256: image.sha256,
      memory: needs.memory?.(),
      signal: run.signal,
      onProgress: ({ objectBytes }) => {
        run.progress(objectBytes);
      },
    });
    return sha256;
  } finally {
    await device.close();
  }
}

/** A volume that is already sealed is kept by discardVolume: then only its publishing is to be finished. */
async function returnSpace(needs: FillNeeds, volume: PrivateVolume, pool: string, log: Log): Promise<void> {
  try {
    await discardVolume(needs, volume, pool);
  } catch (error) {
    log.warn(
      { problem: toProblem(error) },
      'the private volume could not be removed now; it will be reclaimed',
    );
  }
}

/** Writes the image into the private volume, from where an interrupted fill stood if there was one. */
import { ProvisionError, toProblem } from '../core/errors.ts';
import { privateName } from '../core/volume.ts';
import type { FillRun } from './fills.ts';
import { FillsStopped } from './fills.ts';
import type {
  Clock,
  FillJournals,
  FillPosition,
  PrivateVolume,
  VolumeDevice,
  VolumeDevices,
  Volumes,
  Workshops,
} from './ports.ts';
import type { ResolvedImage } from './resolve-image.ts';
import { FillJournal } from './resume-fill.ts';
import { streamImage } from './stream-image.ts';
import type { StreamShape } from './stream-shape.ts';

export interface WriteNeeds {
  readonly volumes: Volumes;
  readonly devices: VolumeDevices;
  readonly clock: Clock;
  readonly workshops?: Workshops | undefined;
  readonly journals?: FillJournals | undefined;
  /** Only tests have another one than hosts. */
  readonly shape?: StreamShape | undefined;
}

/**
 * Streams, syncs, checks the digest, and closes the device again: publish wants nobody to have it open.
 * Resolves with the object's SHA-256.
 */
export async function writeImage(
  needs: WriteNeeds,
  volume: PrivateVolume,
  image: ResolvedImage,
  run: FillRun,
): Promise<string> {
  const device = await needs.devices.open(volume.vg, privateName(volume.fillId));
  try {
    const journal = await FillJournal.open(needs, volume, image, device);
    const resumeFrom = await journal?.position(run.log);
    // One that was written for another state of the object must not come to life again.
    if (journal === undefined) await needs.journals?.remove(volume.fillId);
    try {
      return await stream(needs, image, run, { device, journal, resumeFrom });
    } catch (error) {
      if (goesOnLater(error, run.signal)) throw error;
      // What is wrong may stand before the checkpoint, where no later try would look.
      await needs.journals?.remove(volume.fillId);
      if (resumeFrom === undefined || run.signal.aborted) throw error;
      run.log.warn({ problem: toProblem(error) }, 'the resumed fill failed and begins again');
      return await stream(needs, image, run, { device, journal, resumeFrom: undefined });
    }
  } finally {
    await device.close();
  }
}

/** What is there is kept when the daemon ends, and while the store is away: core/plan.ts resumes both. */
export function goesOnLater(error: unknown, signal: AbortSignal): boolean {
  if (signal.aborted) return signal.reason instanceof FillsStopped;
  return error instanceof ProvisionError && error.code === 'STORE_UNREACHABLE';
}

async function stream(
  { clock, workshops, shape }: WriteNeeds,
  { images, object, layout, proof, outer }: ResolvedImage,
  run: FillRun,
  to: {
    readonly device: VolumeDevice;
    readonly journal: FillJournal | undefined;
    readonly resumeFrom: FillPosition | undefined;
  },
): Promise<string> {
  const { device, journal, resumeFrom } = to;
  run.progress(resumeFrom?.objectBytes ?? 0);
  run.phase('filling', layout.objectSizeBytes);
  const { sha256 } = await streamImage({
    ...{ images, clock, workshops, shape, device, object, layout, proof, outer, resumeFrom },
    signal: run.signal,
    onCheckpoint: journal?.save,
    onRetry: (problem, pauseMs) => {
      run.log.warn({ problem: toProblem(problem), pauseMs: Math.round(pauseMs) }, 'a range is fetched again');
    },
    onProgress: ({ objectBytes }) => {
      run.progress(objectBytes);
    },
  });
  return sha256;
}

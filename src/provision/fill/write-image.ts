/** Writes the image into the private volume, from where an interrupted fill stood if there was one. */
import { ProvisionError, toProblem } from '../../core/errors.ts';
import { keepsVolume } from '../../core/plan/planned-fill.ts';
import { privateName } from '../../core/volume/volume.ts';
import type { FillRun } from './fills.ts';
import { FillsStopped } from './fills.ts';
import { isOfContent } from './leased-image.ts';
import type { FillJournals, FillPosition } from '../ports/fill-journals.ts';
import type { Clock } from '../ports/host.ts';
import type { PrivateVolume, VolumeDevice, VolumeDevices, Volumes } from '../ports/volumes.ts';
import type { Workshops } from '../ports/workshop.ts';
import { readBack } from '../stream/read-back.ts';
import type { ResolvedImage } from './resolve-image.ts';
import { FillJournal } from './resume-fill.ts';
import type { StreamOptions } from '../stream/stream-image.ts';
import { streamImage } from '../stream/stream-image.ts';
import type { StreamShape } from '../stream/stream-shape.ts';
import type { WriteRate } from '../stream/write-rate.ts';

export interface WriteNeeds {
  readonly volumes: Volumes;
  readonly devices: VolumeDevices;
  readonly clock: Clock;
  /** Threads that hash and decompress; without them this one does. */
  readonly workshops?: Workshops | undefined;
  /** Without them, an interrupted fill begins again. */
  readonly journals?: FillJournals | undefined;
  /** How fast all fills together may write; without one, as fast as they can. */
  readonly writeRate?: WriteRate | undefined;
  /** Whether all of the volume is read back from the disk and compared. */
  readonly readBack?: boolean | undefined;
  /** The device reads as zeros everywhere, and nothing was ever written to it: holes are left alone. */
  readonly isDeviceZero?: boolean | undefined;
  /** Only tests have another one than hosts. */
  readonly shape?: StreamShape | undefined;
}

/** What a run is given to report by and to stop on, as far as it is needed here. */
export type WriteRun = Pick<FillRun, 'signal' | 'log' | 'phase' | 'progress' | 'streamed'>;

/**
 * Streams, syncs, checks the digest, reads back where that is wanted, and closes the device again: publish
 * wants nobody to have it open. Resolves with the object's SHA-256.
 */
export async function writeImage(
  needs: WriteNeeds,
  volume: PrivateVolume,
  image: ResolvedImage,
  run: WriteRun,
): Promise<string> {
  const device = await needs.devices.open(volume.vg, privateName(volume.fillId), volume.encryption);
  try {
    const journal = await FillJournal.open(needs, volume, image, device);
    const resumeFrom = await journal?.position(run.log);
    // One that was written for another state of the object must not come to life again.
    if (journal === undefined) await needs.journals?.remove(volume.fillId);
    try {
      return await writeAndVerify(needs, image, run, { device, volume, journal, resumeFrom });
    } catch (error) {
      if (goesOnLater(error, run.signal)) throw error;
      // What is wrong may stand before the checkpoint, where no later try would look.
      await needs.journals?.remove(volume.fillId);
      if (resumeFrom === undefined || run.signal.aborted || !isOfContent(error)) throw error;
      run.log.warn({ problem: toProblem(error) }, 'the resumed fill failed and begins again');
      return await writeAndVerify(needs, image, run, { device, volume, journal, resumeFrom: undefined });
    }
  } finally {
    await device.close();
  }
}

/** What is there is kept when the daemon ends, and for failures of which core/plan.ts says so: it resumes both. */
export function goesOnLater(error: unknown, signal: AbortSignal): boolean {
  const why: unknown = signal.aborted ? signal.reason : error;
  return why instanceof FillsStopped || (why instanceof ProvisionError && keepsVolume(why));
}

/** The volume as one try of the fill finds it. */
interface Target {
  readonly device: VolumeDevice;
  readonly volume: PrivateVolume;
  readonly journal: FillJournal | undefined;
  readonly resumeFrom: FillPosition | undefined;
}

async function writeAndVerify(
  needs: WriteNeeds,
  image: ResolvedImage,
  run: WriteRun,
  target: Target,
): Promise<string> {
  const sha256 = await stream(needs, image, run, target);
  if (needs.readBack === true) await verify(needs, image, run, target, sha256);
  return sha256;
}

async function stream(
  needs: WriteNeeds,
  image: ResolvedImage,
  run: WriteRun,
  { device, journal, resumeFrom }: Target,
): Promise<string> {
  run.progress(resumeFrom?.objectBytes ?? 0);
  run.phase('filling', image.layout.objectSizeBytes);
  const { sha256 } = await streamImage({
    ...streaming(needs, image, run),
    ...{ device, proof: image.proof, expectedSha256: image.judgedSha256, resumeFrom },
    writeRate: needs.writeRate,
    onStreamed: run.streamed,
    isDeviceZero: needs.isDeviceZero,
    onCheckpoint: journal?.save,
  });
  return sha256;
}

/** Also what an interrupted fill had written before: the device is read from its first byte on. */
async function verify(
  needs: WriteNeeds,
  image: ResolvedImage,
  run: WriteRun,
  { device, volume }: Target,
  sha256: string,
): Promise<void> {
  run.progress(0);
  run.phase('verifying', image.layout.objectSizeBytes);
  const deviceName = `The volume ${volume.vg}/${privateName(volume.fillId)} for ${volume.target}`;
  await readBack({ ...streaming(needs, image, run), device, deviceName, sha256 });
  run.log.debug({}, 'read back');
}

/** What both ways of streaming have in common. */
function streaming(
  { clock, workshops, shape }: WriteNeeds,
  { images, object, layout, outer }: ResolvedImage,
  run: WriteRun,
): Omit<StreamOptions, 'device'> {
  return {
    ...{ images, clock, workshops, shape, object, layout, outer },
    signal: run.signal,
    onRetry: (problem, pauseMs) => {
      run.log.warn({ problem: toProblem(problem), pauseMs: Math.round(pauseMs) }, 'a range is fetched again');
    },
    onProgress: ({ objectBytes }) => {
      run.progress(objectBytes);
    },
  };
}

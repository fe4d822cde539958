/** Reads, hashes and decodes all of an image, as a fill would, and writes nothing. */
import type { Clock } from '../ports/host.ts';
import type { VolumeDevice } from '../ports/volumes.ts';
import type { Workshops } from '../ports/workshop.ts';
import type { ResolvedImage } from '../fill/resolve-image.ts';
import { streamImage } from './stream-image.ts';

export interface ReadNeeds {
  readonly clock: Clock;
  readonly workshops?: Workshops | undefined;
}

export type OnProgress = (bytesDone: number, bytesTotal: number) => void;

/** The SHA-256 of the object; throws as a fill does if it is not the image that it must be. */
export async function readImage(
  { clock, workshops }: ReadNeeds,
  image: ResolvedImage,
  signal: AbortSignal,
  onProgress: OnProgress,
): Promise<string> {
  const { images, object, layout, proof, outer, judgedSha256 } = image;
  const { sha256 } = await streamImage({
    ...{ images, object, layout, proof, outer, clock, signal, workshops },
    expectedSha256: judgedSha256,
    device: nowhere(layout.virtualSizeBytes),
    onProgress: ({ objectBytes, objectSizeBytes }) => {
      onProgress(objectBytes, objectSizeBytes);
    },
  });
  return sha256;
}

function nowhere(sizeBytes: number): VolumeDevice {
  return {
    sizeBytes,
    write: () => Promise.resolve(),
    zero: () => Promise.resolve(),
    read: (target) => {
      target.fill(0);
      return Promise.resolve();
    },
    sync: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}

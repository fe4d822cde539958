/**
 * The journal of a fill: what is written into it, and when it may be believed. A checkpoint names the
 * volume, the object and the metadata it belongs to; if any of them is another one now, the fill begins
 * again, and says why.
 */
import { canResumeSha256 } from '../../core/images/resumable-sha256.ts';
import { imageName } from '../../core/request.ts';
import { privateName } from '../../core/volume/volume.ts';
import type { FillCheckpoint, FillJournals, FillPosition } from '../ports/fill-journals.ts';
import type { Log } from '../ports/host.ts';
import type { PrivateVolume, VolumeDevice, Volumes } from '../ports/volumes.ts';
import type { ResolvedImage } from './resolve-image.ts';
import type { StreamShape } from '../stream/stream-shape.ts';
import { STREAM_SHAPE } from '../stream/stream-shape.ts';

interface JournalNeeds {
  readonly journals?: FillJournals | undefined;
  readonly volumes: Volumes;
  readonly shape?: StreamShape | undefined;
}

/** To be raised when bytes that an earlier program has written may not be what this one would write. */
const ENGINE = 1;

type Binding = Omit<FillCheckpoint, keyof FillPosition>;

export class FillJournal {
  readonly #journals: FillJournals;
  readonly #volume: PrivateVolume;
  readonly #binding: Binding;

  private constructor(journals: FillJournals, volume: PrivateVolume, binding: Binding) {
    this.#journals = journals;
    this.#volume = volume;
    this.#binding = binding;
  }

  /** Undefined where there is nothing to gain, or nothing to go on from. */
  static async open(
    needs: JournalNeeds,
    volume: PrivateVolume,
    image: ResolvedImage,
    device: VolumeDevice,
  ): Promise<FillJournal | undefined> {
    const { object, layout } = image;
    const { fingerprint } = layout;
    if (needs.journals === undefined || fingerprint === undefined || !canResumeSha256()) return undefined;
    if (object.sizeBytes <= (needs.shape ?? STREAM_SHAPE).fetchedTwiceMaxBytes) return undefined;
    const { volumes } = await needs.volumes.list();
    const name = privateName(volume.fillId);
    const found = volumes.find(({ vg, lv }) => vg === volume.vg && lv === name);
    if (found === undefined) return undefined;
    return new FillJournal(needs.journals, volume, {
      engine: ENGINE,
      volumeUuid: found.uuid,
      volumeSizeBytes: device.sizeBytes,
      image: imageName(object.image),
      etag: object.etag,
      ...(object.version === undefined ? {} : { version: object.version }),
      objectSizeBytes: object.sizeBytes,
      fingerprint,
    });
  }

  readonly save = (position: FillPosition): Promise<void> =>
    this.#journals.write(this.#volume.fillId, { ...this.#binding, ...position });

  /**
   * Where an interrupted fill goes on, if what it knew is still so. If not, the journal is gone before the
   * fill begins again: an old position would vouch for bytes that are about to be written anew.
   */
  async position(log: Log): Promise<FillPosition | undefined> {
    const checkpoint = await this.#journals.read(this.#volume.fillId);
    if (checkpoint === undefined) {
      await this.#journals.remove(this.#volume.fillId);
      return undefined;
    }
    const differing = BOUND.filter((key) => checkpoint[key] !== this.#binding[key]);
    if (differing.length > 0) {
      const changed = Object.fromEntries(
        differing.map((key) => [key, { was: checkpoint[key], is: this.#binding[key] }]),
      );
      log.warn({ changed }, 'the interrupted fill cannot go on and begins again');
      await this.#journals.remove(this.#volume.fillId);
      return undefined;
    }
    const { objectBytes, objectSizeBytes } = checkpoint;
    log.info({ objectBytes, objectSizeBytes }, 'the interrupted fill goes on');
    return checkpoint;
  }
}

const BOUND = [
  'engine',
  'volumeUuid',
  'volumeSizeBytes',
  'image',
  'etag',
  'version',
  'objectSizeBytes',
  'fingerprint',
] as const satisfies readonly (keyof Binding)[];

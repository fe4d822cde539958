/**
 * The volume group: the model of LVM that the helper's own tests use, and for each volume its bytes, who made
 * it and who has it open. It watches every change, whoever makes it, and knows which of them break a promise.
 */
import { GOLDEN_OWNER, isJob } from '../../src/core/owner.ts';
import type { GoldenMax } from '../../src/core/thin/golden-budget.ts';
import { goldenMaxBytes } from '../../src/core/thin/golden-budget.ts';
import type { GoldenSeal, Seal, VolumeMark } from '../../src/core/volume/volume.ts';
import { ADOPTING_TAG, fillIdOf, goldenName, readMark, retiredName } from '../../src/core/volume/volume.ts';
import type { ModelVolume } from '../helper/memory-lvm.ts';
import { MemoryLvm } from '../helper/memory-lvm.ts';
import type { ModelMapping } from '../helper/model-luks.ts';
import { modelCipher } from '../helper/model-luks.ts';
import { Disk, HEAD_BYTES } from './disk.ts';
import { VG } from './domains.ts';
import type { Random } from './random.ts';
import { Violation } from './violation.ts';

/** Small, so that a run costs milliseconds. */
export const EXTENT_BYTES = 16 * 1024;
/** As much as a volume's head that is looked at. */
export const LUKS_BYTES = HEAD_BYTES;
const LUKS_HEADER = Buffer.alloc(LUKS_BYTES, 0x4c);
const THIN_POOL = 'pool0';
const CHUNK_BYTES = 4096;
/** From a reading of the volumes to the removal of what is beyond the budget by that. */
const RETIRED_WITHIN_MS = 120_000;
/** From the helper's look at a golden volume to its snapshot. */
const LOOKED_WITHIN_MS = 10_000;

/** Whoever has a device open; compared by identity. */
export interface Opener {
  readonly what: 'fill' | 'guest' | 'somebody';
}

/** What is remembered of a volume beside what LVM says. */
export interface Book {
  readonly disk: Disk;
  readonly madeBy: 'us' | 'somebody';
  readonly madeAtMs: number;
  /** The name and tags somebody gave it; only of volumes we have not made. */
  readonly name: string;
  readonly tags: readonly string[];
  readonly openers: Set<Opener>;
  /** A volume of somebody else that was proven blank and is ours since. */
  isTakenOver: boolean;
  hasStarted: boolean;
  /** Somebody has written to it as a golden volume, by hand; or it was cloned from such a one since. */
  isSpoilt: boolean;
  /** When a fill last wrote to it. */
  writtenAtMs: number;
}

/** What has run full of the thin pool, whatever is promised. */
export type ThinFault = 'data' | 'metadata' | undefined;

export class Group {
  readonly model = new MemoryLvm();
  readonly #books = new Map<string, Book>();
  readonly #nowMs: () => number;
  extents = 64;
  /** The thin pool of the group, in a run that has one. */
  readonly thinPools = new Map<string, string>();
  overcommit = 1;
  thinFault: ThinFault;
  /** When somebody has made a golden volume writable, by its UUID. */
  readonly openedUpAtMs = new Map<string, number>();
  /** Golden volumes that somebody wants removed, by their UUIDs. */
  readonly unwanted = new Set<string>();
  /** Digests of images that the configuration wants as golden volumes. */
  readonly pinned = new Set<string>();
  /** How many volumes are just being made of a golden one, by its fill: from the question until the answer. */
  readonly beingCloned = new Map<string, number>();
  /** What golden volumes may hold of the thin pool. */
  goldenMax: GoldenMax = { percent: 100 };
  #overBudgetAtMs = -Infinity;
  /** Whether a volume that was put aside has been replaced, which is the only reason to remove a sealed one. */
  isReplaced: (seal: Seal) => boolean = () => false;
  /** Judges the removal of a published volume by us. */
  onDelete: (volume: ModelVolume, seal: Seal) => void = () => undefined;
  /** UUIDs of what was not removed by us. */
  readonly removedByHand = new Set<string>();
  /** Judges the moment in which a volume is sealed. */
  onSeal: (volume: ModelVolume, book: Book) => void = () => undefined;
  /** Judges the moment in which a golden volume is sealed. */
  onGoldenSeal: (volume: ModelVolume, book: Book) => void = () => undefined;
  /** Judges the moment in which a domain gets what a job has filled; with the job's seal. */
  onClaim: (volume: ModelVolume, seal: Seal) => void = () => undefined;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
    this.model.headerBytes = LUKS_BYTES;
  }

  get freeBytes(): number {
    const thick = this.model.volumes.filter(
      ({ thinPool, pool }) => thinPool === undefined && pool === undefined,
    );
    const used = thick.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return Math.max(0, this.extents * EXTENT_BYTES - used);
  }

  /** Beside what thick volumes get. */
  addThinPool(extents: number, overcommit: number): void {
    const volume = this.model.addPool(THIN_POOL, { chunkBytes: CHUNK_BYTES });
    this.#open(volume, 'somebody', new Disk(HEAD_BYTES));
    this.thinPools.set(VG, THIN_POOL);
    this.overcommit = overcommit;
    this.resizeThinPool(extents);
  }

  resizeThinPool(extents: number): void {
    const volume = this.model.find(THIN_POOL);
    if (volume?.pool === undefined) return;
    volume.sizeBytes = extents * EXTENT_BYTES;
    volume.pool = { ...volume.pool, metadataBytes: (volume.sizeBytes / CHUNK_BYTES) * 64 * 2 };
  }

  /** As LVM reports it: how much is in use. */
  measureThinPool(): void {
    const volume = this.model.find(THIN_POOL);
    if (volume?.pool === undefined) return;
    const used = this.#thinVolumes().reduce((sum, { mappedBytes = 0 }) => sum + mappedBytes, 0);
    volume.pool = {
      ...volume.pool,
      usedBytes: this.thinFault === 'data' ? volume.sizeBytes : Math.min(used, volume.sizeBytes),
      metadataUsedBytes: this.thinFault === 'metadata' ? volume.pool.metadataBytes : 0,
    };
  }

  #thinVolumes(): ModelVolume[] {
    return this.model.volumes.filter(({ thinPool }) => thinPool !== undefined);
  }

  /** The daemon is about to have this golden volume removed. */
  judgeDrop(seal: GoldenSeal): void {
    const volume = this.model.volumes.find(({ lv }) => lv === goldenName(seal.fillId));
    if (volume === undefined) return;
    if (this.beingCloned.has(seal.fillId))
      throw new Violation('golden-untouched', `${volume.lv} is to go while a volume is made of it`);
    const isUseless = this.#hasTwin(volume, seal) || this.bookOf(volume).isSpoilt || volume.writable;
    if (this.pinned.has(seal.sha256) && !isUseless)
      throw new Violation('golden-untouched', `${volume.lv} is to go, and it is pinned`);
  }

  /** A volume that a tool or an operator makes. */
  make(lv: string, sizeBytes: number, tags: string[] = []): ModelVolume | undefined {
    if (this.model.find(lv) !== undefined || this.freeBytes < sizeBytes) return undefined;
    const volume = this.model.add(lv, { sizeBytes, tags });
    this.#open(volume, 'somebody');
    return volume;
  }

  bookOf(volume: ModelVolume): Book {
    const book = this.#books.get(volume.uuid);
    if (book === undefined) throw new Error(`nobody has made ${volume.lv}`);
    return book;
  }

  /** One that is just being made has nobody's attention yet. */
  isOpen(volume: ModelVolume): boolean {
    return (this.#books.get(volume.uuid)?.openers.size ?? 0) > 0 || this.isMapped(volume);
  }

  /** The kernel has it open by itself, whoever it was that wanted that. */
  isMapped({ uuid }: ModelVolume): boolean {
    return [...this.model.mappings.values()].some((mapping) => mapping.uuid === uuid);
  }

  /** What blkid and a look at the head say. */
  whyNotEmpty(lv: string): string | undefined {
    const volume = this.model.get(lv);
    if (this.isOpen(volume)) return 'something uses it';
    return this.bookOf(volume).disk.isBlank ? undefined : 'it holds data';
  }

  /** Removes a volume as lvremove does: not while anybody has it open. */
  remove(lv: string, by: 'us' | 'somebody'): void {
    const volume = this.model.get(lv);
    if (this.isOpen(volume)) throw new Error(`lvremove: ${lv} is in use`);
    this.#weighGoldens();
    if (by === 'us') this.#judgeRemoval(volume);
    else this.removedByHand.add(volume.uuid);
    this.model.volumes = this.model.volumes.filter((other) => other !== volume);
    this.#books.delete(volume.uuid);
  }

  /** Bytes that a fill writes, as they are or through what encrypts them. */
  write(volume: ModelVolume, bytes: Uint8Array, offsetBytes: number, mapping?: ModelMapping): void {
    const mark = readMark(volume.tags);
    const book = this.bookOf(volume);
    const isEncrypted = mark.state === 'filling' && mark.encryption !== undefined;
    if (isEncrypted !== (mapping !== undefined)) {
      const how = mapping === undefined ? 'as they are' : 'encrypted';
      throw new Violation('never-plain', `bytes of an image were written to ${volume.lv} ${how}`);
    }
    if (mark.state !== 'filling' || [...book.openers].some(({ what }) => what === 'guest')) {
      throw new Violation(
        mark.state === 'unmarked' ? 'foreign-untouched' : 'no-write-after-seal',
        `${volume.lv} was written to while ${mark.state}`,
      );
    }
    if (book.madeBy === 'somebody' && !book.isTakenOver) {
      throw new Violation('foreign-untouched', `${volume.lv} was written to before it was proven blank`);
    }
    if (volume.originUuid !== undefined)
      throw new Violation('exact-bytes', `${volume.lv}, which is a clone, was written to`);
    const at = mapping === undefined ? offsetBytes : LUKS_BYTES + offsetBytes;
    const stored = mapping === undefined ? bytes : modelCipher(mapping.volumeKey, bytes, offsetBytes);
    book.disk.write(stored, at);
    book.writtenAtMs = this.#nowMs();
    if (volume.thinPool === undefined) return;
    const endBytes = Math.ceil((at + bytes.length) / CHUNK_BYTES) * CHUNK_BYTES;
    volume.mappedBytes = Math.max(volume.mappedBytes ?? 0, endBytes);
  }

  /** Called after each LVM command of ours. */
  afterCommand(command: string, lv: string, before: VolumeMark | undefined): void {
    const volume = this.model.find(lv);
    if (volume === undefined) return;
    if (command === 'create') this.#opened(volume);
    const mark = readMark(volume.tags);
    const book = this.bookOf(volume);
    if (command === 'extend') book.disk.grow(volume.sizeBytes);
    if (command === 'luksFormat') this.#formatted(book.disk);
    if (volume.thinPool !== undefined && (command === 'create' || command === 'extend')) this.#judgePromise();
    this.#judgeGolden(volume, book, mark, before);
    if (before?.state === 'ready' && mark.state !== 'ready') {
      throw new Violation('names-mean-finished', `the seal of ${lv} was taken off`);
    }
    if (mark.state === 'ready' && before?.state !== 'ready') this.onSeal(volume, book);
    if (mark.state === 'ready' && before?.state === 'ready' && mark.domainUuid !== before.domainUuid) {
      if (isJob(mark.domainUuid)) throw new Violation('exact-bytes', `${lv} was given to a job`);
      if (isJob(before.domainUuid)) this.onClaim(volume, before);
      // A guest without an annotation may use what a job has filled: docs/operate.md says so.
      else if (book.hasStarted)
        throw new Violation('exact-bytes', `${lv} was given to another domain after a start`);
    }
    this.#judgeTakeover(volume, book, mark);
    this.#judgeName(volume, mark);
  }

  losePower(random: Random): void {
    this.model.mappings.clear();
    for (const book of this.#books.values()) {
      book.openers.clear();
      book.disk.losePower(random);
    }
    for (const volume of this.model.volumes) {
      volume.active = !volume.skipsActivation;
      volume.openLooks = 0;
      volume.owner = 'root';
    }
  }

  #open(volume: ModelVolume, madeBy: Book['madeBy'], disk = new Disk(volume.sizeBytes)): void {
    this.#books.set(volume.uuid, {
      ...{ disk, madeBy, madeAtMs: this.#nowMs() },
      ...{ name: volume.lv, tags: [...volume.tags], openers: new Set() },
      ...{ isTakenOver: false, hasStarted: false, isSpoilt: false, writtenAtMs: -Infinity },
    });
  }

  /** Nothing that was written before can be read any more. */
  #formatted(disk: Disk): void {
    disk.write(LUKS_HEADER, 0);
    disk.sync();
    disk.forgetKept();
  }

  /** We have made it; a clone has the bytes of what it was made of. */
  #opened(volume: ModelVolume): void {
    if (volume.thinPool === undefined) {
      this.#open(volume, 'us');
      return;
    }
    const origin = this.model.volumes.find(({ uuid }) => uuid === volume.originUuid);
    if (origin !== undefined) this.#judgeOrigin(volume, origin);
    const book = origin && this.bookOf(origin);
    this.#open(volume, 'us', Disk.thin(volume.sizeBytes, book?.disk));
    this.bookOf(volume).isSpoilt = book?.isSpoilt ?? false;
  }

  /** Only a golden volume is cloned, as it was sealed. */
  #judgeOrigin(volume: ModelVolume, origin: ModelVolume): void {
    const mark = readMark(origin.tags);
    const isSealed = mark.state === 'golden' && origin.lv === goldenName(mark.fillId);
    // Somebody may have come between the helper's look at it and the snapshot.
    const isJustOpenedUp =
      this.#nowMs() - (this.openedUpAtMs.get(origin.uuid) ?? -Infinity) < LOOKED_WITHIN_MS;
    if (isSealed && (!origin.writable || isJustOpenedUp) && !this.isOpen(origin)) return;
    throw new Violation('golden-untouched', `${volume.lv} was made of ${origin.lv}, which is ${mark.state}`);
  }

  #judgeGolden(volume: ModelVolume, book: Book, mark: VolumeMark, before: VolumeMark | undefined): void {
    if (before?.state === 'golden' && mark.state !== 'golden')
      throw new Violation('golden-untouched', `the seal of the golden ${volume.lv} was taken off`);
    if (mark.state === 'golden' && before?.state !== 'golden') this.onGoldenSeal(volume, book);
    this.#weighGoldens();
  }

  /** Remembers when they were last beyond their budget. */
  #weighGoldens(): void {
    const heldBytes = this.model.volumes.reduce((sum, { tags }) => {
      const mark = readMark(tags);
      return mark.state === 'golden' ? sum + mark.mappedBytes : sum;
    }, 0);
    const { sizeBytes = 0 } = this.model.find(THIN_POOL) ?? {};
    if (heldBytes > goldenMaxBytes({ sizeBytes }, this.goldenMax)) this.#overBudgetAtMs = this.#nowMs();
  }

  #hasTwin(volume: ModelVolume, seal: GoldenSeal): boolean {
    return this.model.volumes.some((other) => {
      const mark = readMark(other.tags);
      return (
        other !== volume &&
        mark.state === 'golden' &&
        mark.sha256 === seal.sha256 &&
        mark.format === seal.format
      );
    });
  }

  /** What thin volumes may grow to, all together, is no more than was allowed. */
  #judgePromise(): void {
    const limitBytes = (this.model.find(THIN_POOL)?.sizeBytes ?? 0) * this.overcommit;
    const promised = this.#thinVolumes().reduce((sum, volume) => {
      const mark = readMark(volume.tags);
      if (mark.state === 'golden' && !volume.writable) return sum + mark.mappedBytes;
      const isForCheck = mark.state === 'filling' && mark.domainUuid === GOLDEN_OWNER;
      return isForCheck && volume.originUuid !== undefined ? sum : sum + volume.sizeBytes;
    }, 0);
    if (promised <= limitBytes) return;
    throw new Violation('space-promised', `${promised} bytes are promised, and at most ${limitBytes} may be`);
  }

  /** The tag of an adoption goes away: from here on the volume may be written to, or removed. */
  #judgeTakeover(volume: ModelVolume, book: Book, mark: VolumeMark): void {
    if (book.madeBy === 'us' || book.isTakenOver) return;
    if (mark.state === 'unmarked' || volume.tags.includes(ADOPTING_TAG)) return;
    if (!book.disk.isBlank || [...book.openers].length > 0) {
      throw new Violation(
        'foreign-untouched',
        `${book.name} was taken over though it holds data or is in use`,
      );
    }
    if (mark.state === 'unclear' || mark.state === 'golden' || mark.target !== book.name) {
      throw new Violation('foreign-untouched', `${book.name} was taken over for another name`);
    }
    book.isTakenOver = true;
  }

  /** A final name stands for a finished volume, or for one that is not ours. */
  #judgeName(volume: ModelVolume, mark: VolumeMark): void {
    const isPrivate = fillIdOf(volume.lv) !== undefined;
    if (isPrivate || mark.state === 'unmarked' || mark.state === 'ready') return;
    if (mark.state === 'golden' && volume.lv === goldenName(mark.fillId)) return;
    if (volume.tags.includes(ADOPTING_TAG)) return;
    throw new Violation('names-mean-finished', `${volume.lv} has its final name while it is ${mark.state}`);
  }

  #judgeRemoval(volume: ModelVolume): void {
    const mark = readMark(volume.tags);
    const book = this.bookOf(volume);
    if (book.madeBy === 'somebody' && !book.isTakenOver) {
      throw new Violation('foreign-untouched', `${volume.lv}, made as ${book.name}, was removed by us`);
    }
    if (mark.state === 'ready' && volume.lv === retiredName(mark.fillId) && this.isReplaced(mark)) return;
    if (mark.state === 'ready' && volume.lv === mark.target) {
      this.onDelete(volume, mark);
      return;
    }
    if (mark.state === 'golden') {
      this.#judgeGoldenRemoval(volume, book, mark);
      return;
    }
    const isOurs = mark.state === 'filling' && fillIdOf(volume.lv) === mark.fillId;
    if (!isOurs) throw new Violation('names-mean-finished', `${volume.lv} was removed while ${mark.state}`);
  }

  /** It is wanted no more, holds what another one holds, somebody has been at it, or there are too many. */
  #judgeGoldenRemoval(volume: ModelVolume, book: Book, seal: GoldenSeal): void {
    if (this.#hasTwin(volume, seal) || book.isSpoilt || volume.writable || this.unwanted.has(volume.uuid))
      return;
    if (this.#nowMs() - this.#overBudgetAtMs < RETIRED_WITHIN_MS) return;
    throw new Violation('golden-untouched', `${volume.lv} was removed, and nobody wanted that`);
  }
}

/** What whoever has its key sees of a volume with these bytes: those behind the header, or all of a plain one. */
export function plainOf({ header }: ModelVolume, bytes: Buffer): Buffer {
  return header === undefined ? bytes : modelCipher(header.volumeKey, bytes.subarray(LUKS_BYTES), 0);
}

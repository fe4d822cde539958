/** The promises about encrypted volumes and what opens them, asked at the moments that matter and once more at the end. */
import { readMark } from '../../src/core/volume/volume.ts';
import type { VolumeRequest } from '../../src/core/request.ts';
import { formatKeyReference } from '../../src/core/key/key-reference.ts';
import type { Ledger } from '../../src/provision/ports/ledger.ts';
import type { AdmitAnswer } from '../../src/provision/ports/verbs.ts';
import type { ModelVolume } from '../helper/memory-lvm.ts';
import type { DiskSpec, DomainSpec } from './domains.ts';
import { pathOf } from './domains.ts';
import type { Book, Group } from './group.ts';
import type { KeyServer } from './keys.ts';
import type { Libvirt } from './libvirt.ts';
import { Violation } from './violation.ts';

export class KeyJudge {
  readonly #group: Group;
  readonly #keys: KeyServer;
  readonly #libvirt: Libvirt;
  readonly #ledger: () => Ledger;
  readonly #images: () => Iterable<Buffer>;
  readonly #isIncoming: (uuid: string) => boolean;
  /** Volumes that somebody wants made unreadable, by their UUIDs. */
  readonly doomed = new Set<string>();
  /** Those of which that was said to be done. */
  readonly erased = new Set<string>();

  constructor(needs: {
    readonly group: Group;
    readonly keys: KeyServer;
    readonly libvirt: Libvirt;
    readonly ledger: () => Ledger;
    /** All that images ever were. */
    readonly images: () => Iterable<Buffer>;
    readonly isIncoming: (uuid: string) => boolean;
  }) {
    this.#group = needs.group;
    this.#keys = needs.keys;
    this.#libvirt = needs.libvirt;
    this.#ledger = needs.ledger;
    this.#images = needs.images;
    this.#isIncoming = needs.isIncoming;
  }

  /** What was asked for encrypted is sealed so, and the other way round; and its key has opened it since the last write. */
  onSeal(volume: ModelVolume, book: Book, request: VolumeRequest): void {
    const mark = readMark(volume.tags);
    const isSealedSo = mark.state === 'ready' && mark.encryption !== undefined;
    const { header, lv } = volume;
    if (isSealedSo !== (request.key !== undefined)) {
      const how = isSealedSo ? 'encrypted' : 'plain';
      throw new Violation('never-plain', `${lv} was sealed ${how}, and was asked for otherwise`);
    }
    if (request.key === undefined) return;
    const [text, ...more] = header?.slots.filter((slot) => slot !== undefined) ?? [];
    if (text === undefined || more.length > 0)
      throw new Violation(
        'never-plain',
        `${lv} was sealed encrypted with ${more.length} keys beside its own`,
      );
    const name = formatKeyReference(request.key);
    if (!this.#keys.textsOf(name).includes(text))
      throw new Violation('only-granted-keys', `${lv} was sealed, and what opens it is not ${name}`);
    if (this.#keys.givenAtMs(text) < book.writtenAtMs)
      throw new Violation('only-granted-keys', `${lv} was sealed, and nobody has tried to open it again`);
  }

  onAnswer(spec: DomainSpec, { allowed }: AdmitAnswer): void {
    if (!allowed || spec.annotation !== 'good') return;
    for (const { lv } of spec.disks) {
      const volume = this.#group.model.find(lv);
      if (volume !== undefined && this.#isGivenUp(volume))
        throw new Violation('erased-for-good', `${spec.name} was let start on ${lv}, which was to be erased`);
    }
  }

  /** The guest gets what the annotation says, with a key that is granted and opens its volume. */
  onStart(spec: DomainSpec, volumes: readonly ModelVolume[], askedAtMs: number): void {
    if (spec.annotation !== 'good') return;
    for (const [index, volume] of volumes.entries()) {
      const disk = spec.disks[index];
      if (disk === undefined) continue;
      const isEncrypted = volume.header !== undefined;
      if (isEncrypted !== (disk.key !== undefined))
        throw new Violation('never-plain', `${spec.name} was started on ${volume.lv}, which is otherwise`);
      if (disk.key !== undefined) this.#judgeKey(spec, disk, disk.key, volume, askedAtMs);
    }
  }

  #judgeKey(
    { name: who }: DomainSpec,
    { lv }: DiskSpec,
    name: string,
    { header }: ModelVolume,
    askedAtMs: number,
  ): void {
    const text = this.#libvirt.secrets.valueOf(pathOf(lv));
    if (text === undefined)
      throw new Violation('only-granted-keys', `${who} was let start, and libvirt has no key for ${lv}`);
    if (header?.slots.includes(text) !== true)
      throw new Violation('only-granted-keys', `${who} was let start with a key that does not open ${lv}`);
    const isOfNow = this.#keys.textsOf(name).includes(text) && this.#keys.givenAtMs(text) >= askedAtMs;
    if (!isOfNow || !this.#keys.wasGrantedSince(name, askedAtMs))
      throw new Violation('only-granted-keys', `${who} was started with a key for ${lv} that is not granted`);
  }

  /** Whatever we do to headers and annotations, what could be opened with the annotated key still can. */
  around(what: string, effect: () => void): void {
    const before = this.#openable();
    effect();
    this.#requireOpenable(what, before);
  }

  async aroundHeader(what: string, lv: string, effect: () => Promise<void>): Promise<void> {
    const volume = this.#group.model.find(lv);
    const mark = readMark(volume?.tags ?? []);
    if (what === 'luksErase' && !this.doomed.has(volume?.uuid ?? ''))
      throw new Violation('erased-for-good', `${lv} was erased, and nobody wanted that`);
    if (what === 'luksErase' || mark.state === 'filling') return effect();
    const before = this.#openable();
    await effect();
    this.#requireOpenable(`${what} ${lv}`, before);
  }

  #requireOpenable(what: string, before: ReadonlyMap<string, string>): void {
    const after = this.#openable();
    for (const [disk, key] of before) {
      // Somebody may have removed it, or named another key, meanwhile.
      const { lv = '', uuid } = this.#diskOf(disk) ?? {};
      const isSame = uuid !== undefined && this.#group.model.find(lv)?.uuid === uuid;
      if (after.has(disk) || !isSame) continue;
      throw new Violation('annotated-key-opens', `after ${what} ${key} does not open ${lv} any more`);
    }
  }

  /** Where the annotated key opens the volume: which one, by domain, target and volume. */
  #openable(): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const { spec } of this.#libvirt.domains.values()) {
      for (const disk of spec.annotation === 'good' ? spec.disks : []) {
        const volume = this.#group.model.find(disk.lv);
        if (disk.key === undefined || volume === undefined || !this.#isSealedFor(volume, spec.uuid)) continue;
        if (this.#keys.textsOf(disk.key).some((text) => volume.header?.slots.includes(text)))
          found.set(`${spec.uuid} ${disk.target} ${volume.uuid}`, disk.key);
      }
    }
    return found;
  }

  #diskOf(place: string): { readonly lv: string; readonly uuid: string } | undefined {
    const [domain = '', target, uuid = ''] = place.split(' ');
    const disk = this.#libvirt.domains.get(domain)?.spec.disks.find((one) => one.target === target);
    return disk && { lv: disk.lv, uuid };
  }

  #isSealedFor({ tags }: ModelVolume, uuid: string): boolean {
    const mark = readMark(tags);
    return mark.state === 'ready' && mark.domainUuid === uuid;
  }

  /** It was to be erased, as far as anybody remembers. */
  #isGivenUp({ uuid, tags }: ModelVolume): boolean {
    const mark = readMark(tags);
    if (mark.state !== 'ready') return false;
    return this.erased.has(uuid) || this.#ledger().keyChangeOf(mark.fillId)?.what === 'erase';
  }

  /** The verb says that it is done. */
  onErased(volume: ModelVolume): void {
    this.erased.add(volume.uuid);
    if (volume.header?.slots.some((slot) => slot !== undefined) === true)
      throw new Violation('erased-for-good', `${volume.lv} was called erased, and something still opens it`);
  }

  /** Whether nothing but what the host itself refuses is in the way of a start with this disk's volume, once it is sealed. */
  isStartable(disk: DiskSpec): boolean {
    const volume = this.#group.model.find(disk.lv);
    if (volume === undefined || disk.key === undefined) return true;
    return !this.#isGivenUp(volume) && volume.header?.slots.includes(this.#keys.textOf(disk.key)) === true;
  }

  /** One key for one volume: of what is not sealed yet. */
  isKeyFree(uuid: string, disk: DiskSpec): boolean {
    if (disk.key === undefined) return true;
    const others = this.#ledger()
      .domains()
      .filter(({ domain }) => domain.uuid !== uuid);
    const volumes = others.flatMap(({ domain }) => domain.annotation?.volumes ?? []);
    return !volumes.some(({ key }) => key !== undefined && formatKeyReference(key) === disk.key);
  }

  /** Nobody who takes the disks out finds a piece of any image on what is, or was to be, encrypted. */
  judgeDisks(): void {
    const images = [...this.#images()];
    for (const volume of this.#group.model.volumes) {
      const mark = readMark(volume.tags);
      if ((mark.state !== 'filling' && mark.state !== 'ready') || mark.encryption === undefined) continue;
      const { stable } = this.#group.bookOf(volume).disk;
      if (images.some((image) => hasPieceOf(image, stable)))
        throw new Violation('never-plain', `an image can be read from ${volume.lv}, which is ${mark.state}`);
    }
  }

  /** Secrets that no running guest needs. */
  #strays(): readonly string[] {
    const needed = new Set(
      [...this.#libvirt.domains.values()].flatMap(({ guest }) => guest?.openedPaths ?? []),
    );
    return this.#libvirt.secrets.paths.filter((path) => !needed.has(path));
  }

  isTidy(): boolean {
    return this.#strays().length === 0 && this.#waiting().length === 0 && this.#keys.held.size === 0;
  }

  requireTakenBack(): void {
    const [stray] = this.#strays();
    if (stray !== undefined)
      throw new Violation('keys-taken-back', `libvirt has a key for ${stray}, and no guest needs it`);
  }

  atRest(): void {
    this.judgeDisks();
    this.requireTakenBack();
    if (this.#keys.held.size > 0)
      throw new Violation('keys-taken-back', `${this.#keys.held.size} keys were not wiped after use`);
    const [waiting] = this.#waiting();
    if (waiting !== undefined)
      throw new Violation('ready-in-the-end', `the key of ${waiting} was to be replaced, and is not`);
  }

  /** Volumes of domains that are shut off, whose key is still to be replaced with nothing in the way. */
  #waiting(): readonly string[] {
    return [...this.#libvirt.domains.values()]
      .filter(
        ({ persistent, guest, memory, spec }) =>
          persistent && guest === undefined && memory === undefined && spec.annotation === 'good',
      )
      .flatMap(({ spec }) => spec.disks.filter((disk) => this.#isWaiting(spec, disk)))
      .map(({ lv }) => lv);
  }

  #isWaiting({ uuid, disks }: DomainSpec, disk: DiskSpec): boolean {
    const volume = this.#group.model.find(disk.lv);
    const mark = readMark(volume?.tags ?? []);
    // What another generation is asked for waits for whoever asked for it.
    if (mark.state !== 'ready' || mark.domainUuid !== uuid || mark.generation !== disk.generation)
      return false;
    const change = this.#ledger().keyChangeOf(mark.fillId);
    if (change?.what !== 'rotate' || change.domainUuid !== uuid || this.#isIncoming(uuid)) return false;
    const [from, to] = [change.from, change.to].map(formatKeyReference);
    const isUndone = from !== to && disk.key === from;
    if (change.step === 'done' ? !isUndone : !isUndone && disk.key !== to) return false;
    const isOpened = (key: string | undefined) => this.isStartable({ ...disk, key });
    const isFree = this.isKeyFree(uuid, { ...disk, key: to });
    const isUnused = volume !== undefined && !this.#group.isOpen(volume);
    const others = disks.filter(({ target }) => target !== disk.target);
    return (
      isFree &&
      isUnused &&
      (isOpened(from) || isOpened(to)) &&
      others.every((other) => this.isStartable(other))
    );
  }
}

/** As much of an image as is like nothing else. */
const PIECE_BYTES = 64;
const PIECES_EVERY_BYTES = 4096;

function hasPieceOf(image: Buffer, bytes: Buffer): boolean {
  for (let at = 0; at + PIECE_BYTES <= image.length; at += PIECES_EVERY_BYTES) {
    const piece = image.subarray(at, at + PIECE_BYTES);
    if (piece.some((byte) => byte !== 0) && bytes.includes(piece)) return true;
  }
  return false;
}

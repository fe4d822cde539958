/** The promises, as questions that are asked at the moments that matter and once more at the end. */
import { isJob } from '../../src/core/owner.ts';
import { ADOPTING_TAG, fillIdOf, imageTag, readMark, retiredName } from '../../src/core/volume/volume.ts';
import type { Seal } from '../../src/core/volume/volume.ts';
import type { VolumeRequest } from '../../src/core/request.ts';
import { imageName } from '../../src/core/request.ts';
import { doomedVolumes } from '../../src/provision/ends/end-of-volume.ts';
import type { FillCheckpoint } from '../../src/provision/ports/fill-journals.ts';
import type { FillRecord, Ledger } from '../../src/provision/ports/ledger.ts';
import type { ModelVolume } from '../helper/memory-lvm.ts';
import { isImageAndZeros } from './disk.ts';
import type { DiskSpec, DomainSpec } from './domains.ts';
import type { Book, Group } from './group.ts';
import { LUKS_BYTES, plainOf } from './group.ts';
import type { KeyJudge } from './key-judge.ts';
import type { Domain, Libvirt, Truth } from './libvirt.ts';
import { CALL_MAX_MS } from './libvirt.ts';
import type { Store } from './store.ts';
import { Violation } from './violation.ts';

/** An arriving domain's volumes are left alone for this long, or until the daemon is started anew. */
const INCOMING_MS = 6 * 3_600_000;

/** So long the last look at everything before a deletion may take. */
const LOOK_MAX_MS = 60_000;

interface Intent {
  readonly record: FillRecord;
  readonly sinceMs: number;
}

export class Judge {
  readonly #group: Group;
  readonly #store: Store;
  readonly #nowMs: () => number;
  /** In a run with encrypted volumes. */
  keys: KeyJudge | undefined;
  /** What each fill was begun for. */
  readonly #intents = new Map<string, Intent>();
  /** What domains have asked for, by the fill: also of one that a job had begun. */
  readonly #claims = new Map<string, FillRecord>();
  readonly #incoming = new Map<string, number>();
  /** When the volume that had replaced another one was removed, by the fill of that other one. */
  readonly #heirLostAtMs = new Map<string, number>();

  /** When the ledger last began to say that a volume is replaced, by the fill of that one. */
  readonly #replacedAtMs = new Map<string, number>();

  constructor(group: Group, store: Store, nowMs: () => number) {
    this.#group = group;
    this.#store = store;
    this.#nowMs = nowMs;
  }

  /** `migrate begin` or `restore begin` was seen by this life of the daemon. */
  arrives(uuid: string): void {
    this.#incoming.set(uuid, this.#nowMs());
  }

  departs(uuid: string): void {
    this.#incoming.delete(uuid);
  }

  daemonHasEnded(): void {
    this.#incoming.clear();
  }

  isIncoming(uuid: string): boolean {
    return this.#nowMs() - (this.#incoming.get(uuid) ?? -Infinity) < INCOMING_MS;
  }

  onFill(record: FillRecord): void {
    const before = this.#intents.get(record.fillId)?.record;
    if (!isJob(record.domainUuid)) this.#claims.set(record.fillId, record);
    const { state, replaces } = record;
    if (state === 'ready' && replaces !== undefined) this.#replacedAtMs.set(replaces, this.#nowMs());
    if (before !== undefined) return;
    // A row for a volume that is sealed already is no fill.
    if (record.state === 'waiting' && this.isIncoming(record.domainUuid)) {
      const isSealed = this.#group.model.volumes.some((volume) => sealOf(volume)?.fillId === record.fillId);
      if (!isSealed)
        throw new Violation(
          'incoming-not-filled',
          `a fill for ${record.domainName}, which is arriving, was begun`,
        );
    }
    this.#intents.set(record.fillId, { record, sinceMs: this.#nowMs() });
  }

  onSeal(volume: ModelVolume, book: Book): void {
    const seal = sealOf(volume);
    const intent = this.#intents.get(seal?.fillId ?? '');
    if (seal === undefined || intent === undefined) {
      throw new Violation('exact-bytes', `${volume.lv} was sealed by a fill that nobody has begun`);
    }
    const { request, location, domainUuid } = intent.record;
    const asked = {
      domainUuid,
      target: location.lv,
      generation: request.generation,
      image: imageTag(request.image),
    };
    for (const [name, value] of Object.entries(asked)) {
      if (seal[name as keyof typeof asked] !== value) {
        throw new Violation(
          'exact-bytes',
          `${volume.lv} is sealed with another ${name} than its fill was begun for`,
        );
      }
    }
    this.#judgeDigest(seal, request, intent.sinceMs);
    const { header } = volume;
    this.keys?.onSeal(volume, book, request);
    if (volume.sizeBytes < (request.sizeBytes ?? 0) + (header === undefined ? 0 : LUKS_BYTES))
      throw new Violation('exact-bytes', `${volume.lv} was sealed, and is smaller than it was asked for`);
    const image = this.#store.contentOf(seal.sha256);
    if (image === undefined)
      throw new Violation('exact-bytes', `no image ever had the digest on ${volume.lv}`);
    // What somebody has written to a golden volume by hand is noticed by its check, some time later.
    if (!book.isSpoilt && !isImageAndZeros(plainOf(volume, book.disk.stable), image)) {
      throw new Violation(
        'exact-bytes',
        `${volume.lv} was sealed, but a power cut now would show other bytes`,
      );
    }
    if (volume.owner === 'service' || book.openers.size > 0 || this.#group.isMapped(volume)) {
      throw new Violation(
        'no-write-after-seal',
        `${volume.lv} was sealed while it could still be written to`,
      );
    }
  }

  /** It holds its image and zeros for good, and nobody can change that. */
  onGoldenSeal(volume: ModelVolume, book: Book): void {
    const seal = readMark(volume.tags);
    const image = seal.state === 'golden' ? this.#store.contentOf(seal.sha256) : undefined;
    if (image === undefined || !isImageAndZeros(book.disk.stable, image))
      throw new Violation(
        'exact-bytes',
        `${volume.lv} was made golden, and a power cut now would show other bytes`,
      );
    if (volume.writable || volume.active || book.openers.size > 0 || volume.originUuid !== undefined)
      throw new Violation('golden-untouched', `${volume.lv} was sealed while it could still be written to`);
  }

  /** A domain gets what a job has filled: that must be what its annotation asks for. */
  onClaim(volume: ModelVolume, { fillId, image, sha256, generation }: Seal): void {
    const claim = this.#claims.get(fillId);
    const { request } = claim ?? {};
    const isAsked =
      request !== undefined &&
      imageTag(request.image) === image &&
      (request.sha256 ?? sha256) === sha256 &&
      request.generation === generation &&
      (request.sizeBytes ?? 0) <= volume.sizeBytes;
    if (!isAsked) {
      const who = claim?.domainName ?? 'a domain that nobody knows';
      throw new Violation('exact-bytes', `${volume.lv} was claimed by ${who}, which asks for something else`);
    }
  }

  /** What a journal says is done is not done again: it must be there after a power cut. All images here are raw. */
  onCheckpoint({ volumeUuid, objectBytes }: FillCheckpoint): void {
    const volume = this.#group.model.volumes.find(({ uuid }) => uuid === volumeUuid);
    if (volume === undefined) return;
    const fromBytes = volume.header === undefined ? 0 : LUKS_BYTES;
    if (this.#group.bookOf(volume).disk.isKept(fromBytes, fromBytes + objectBytes)) return;
    throw new Violation(
      'exact-bytes',
      `a journal says that ${volume.lv} has ${objectBytes} bytes, but a power cut now would lose some`,
    );
  }

  onStart(spec: DomainSpec, volumes: readonly ModelVolume[], askedAtMs: number): void {
    this.keys?.onStart(spec, volumes, askedAtMs);
    for (const [index, volume] of volumes.entries()) {
      const book = this.#group.bookOf(volume);
      // Exchanged while the hook was asked: not even libvirt could know.
      const isExchanged = book.madeBy === 'somebody' && book.madeAtMs > askedAtMs;
      if (spec.annotation !== 'none' && !isExchanged) this.#judgeStart(spec, spec.disks[index], volume, book);
      book.hasStarted = true;
    }
  }

  /** A published volume is deleted by us: somebody must have wanted that, and nobody may be using it. */
  onDelete(volume: ModelVolume, seal: Seal, { domains, truths }: Pick<Libvirt, 'domains' | 'truths'>): void {
    const why = this.#whyNotDelete(volume, seal, domains, truths);
    if (why !== undefined) throw new Violation('deleted-on-proof', `${volume.lv} was deleted: ${why}`);
  }

  #whyNotDelete(
    volume: ModelVolume,
    seal: Seal,
    domains: ReadonlyMap<string, Domain>,
    truths: ReadonlyMap<string, Truth>,
  ): string | undefined {
    const truth = truths.get(seal.domainUuid);
    if (truth === undefined) return 'its domain was never there';
    const isRecent = (uuid: string) => this.#nowMs() - (truths.get(uuid)?.definedAtMs ?? 0) < LOOK_MAX_MS;
    for (const [uuid, { spec }] of domains) {
      const names = uuid === seal.domainUuid || spec.disks.some(({ lv }) => lv === volume.lv);
      // It came while everything was looked at once more.
      if (names && !isRecent(uuid)) return `${spec.name} is there and names it`;
    }
    // It was gone, and that it came back and went again nobody has seen: docs/operate.md says so.
    if (truth.isUntold || (isRecent(seal.domainUuid) && domains.has(seal.domainUuid))) return undefined;
    const { spec, ended } = truth;
    const disk = spec.disks.find(({ lv }) => lv === volume.lv);
    const fate =
      ended === 'here' ? disk?.onUndefine : ended === 'migrated' ? disk?.afterMigration : undefined;
    return fate === 'delete' && spec.annotation === 'good'
      ? undefined
      : `its guest ended ${ended ?? 'not at all'}, and its annotation does not say so (${spec.annotation})`;
  }

  /** Everything has come to rest: nothing may be left over, and what is written down must be true. */
  atRest(domains: ReadonlyMap<string, Domain>, ledger: Ledger): void {
    for (const volume of this.#group.model.volumes) this.#judgeRest(volume, domains);
    for (const volume of this.#group.model.volumes) {
      if (this.#isAsideForNothing(volume, ledger)) {
        throw new Violation('nothing-left', `${volume.lv} stands aside, and nothing is under way`);
      }
      if (asideSealOf(volume) !== undefined && this.#hasGuest(volume)) {
        throw new Violation('in-agreement', `${volume.lv} stands aside, and a guest runs on it`);
      }
    }
    this.#judgeGoldensAtRest();
    this.keys?.atRest();
    for (const { location } of ledger.unfinishedJobs())
      throw new Violation('ready-in-the-end', `a job for ${location.lv} does not end`);
    for (const record of ledger.fills()) {
      const { state, domainName, request, fillId, location } = record;
      const what = `the ledger's row of ${domainName} ${request.target} (${state})`;
      const isUnfinished = state === 'waiting' || state === 'filling' || state === 'publishing';
      // What was cut off stays so while the domain may be arriving.
      if (isUnfinished && !this.isIncoming(record.domainUuid)) {
        throw new Violation('in-agreement', `${what} is unfinished, and nobody works on it`);
      }
      if (record.problem?.code === 'INTERNAL')
        throw new Violation('no-defect', `${what}: ${record.problem.message}`);
      const volume = this.#group.model.find(location.lv);
      const seal = volume && sealOf(volume);
      const isTheirs = seal?.domainUuid === record.domainUuid;
      // Where the domain has gone, lvp gc shows the row; and one of a disk that is refused on the volume it is on now is
      // of the volume that it was on before.
      const disks = domains.get(record.domainUuid)?.spec.disks ?? [];
      const isOn = disks.some(({ target, lv }) => target === request.target && lv === location.lv);
      if (state === 'ready' && isTheirs && seal.fillId !== fillId && isOn) {
        throw new Violation('in-agreement', `${what} names another fill than the seal of ${location.lv}`);
      }
      if (isJob(record.domainUuid)) throw new Violation('in-agreement', `${what} is of a job that has ended`);
      const known = ledger.domainOf(record.domainUuid);
      if (known === undefined)
        throw new Violation('in-agreement', `${what} is of a domain the ledger does not know`);
      const isKept = doomedVolumes(known, [record]).length > 0;
      if (!domains.has(record.domainUuid) && known.origin === 'libvirt' && !isKept) {
        throw new Violation('in-agreement', `${what} is of a domain that is gone`);
      }
    }
  }

  #judgeGoldensAtRest(): void {
    const held = new Set<string>();
    for (const { lv, tags, writable } of this.#group.model.volumes) {
      const seal = readMark(tags);
      if (seal.state !== 'golden') continue;
      if (writable) throw new Violation('nothing-left', `${lv} is golden, and can be written to`);
      if (held.has(seal.sha256))
        throw new Violation('nothing-left', `${lv} is golden, and another one holds the same`);
      held.add(seal.sha256);
    }
  }

  /** Whether nothing is left of fills that have ended. */
  isTidy(ledger: Ledger): boolean {
    return this.#group.model.volumes.every(
      (volume) =>
        (fillIdOf(volume.lv) === undefined || this.#isStuckForGoodReason(volume)) &&
        !this.#isAsideForNothing(volume, ledger),
    );
  }

  /** Somebody is about to remove the volume: what it proved a moment ago may be acted on already. */
  beforeLoss(lv: string, ledger: Ledger): void {
    const replaced = this.#asideOf(lv);
    if (replaced !== undefined && this.isReplaced(replaced, ledger))
      this.#heirLostAtMs.set(replaced.fillId, this.#nowMs());
  }

  /** The ledger says which fill has taken its place, and that one's volume is sealed under the name it had. */
  isReplaced(seal: Seal, ledger: Ledger): boolean {
    if (this.#nowMs() - (this.#heirLostAtMs.get(seal.fillId) ?? -Infinity) < CALL_MAX_MS) return true;
    const holder = this.#group.model.find(seal.target);
    const heir = holder && sealOf(holder);
    const intent = this.#intents.get(heir?.fillId ?? '')?.record;
    return (
      heir?.domainUuid === seal.domainUuid &&
      intent?.replaces === seal.fillId &&
      (ledger.fills().some(({ fillId, state }) => fillId === heir.fillId && state === 'ready') ||
        // Whoever removes it has read that; the domain may have gone, and its row with it, since.
        this.#nowMs() - (this.#replacedAtMs.get(seal.fillId) ?? -Infinity) < CALL_MAX_MS)
    );
  }

  #hasGuest(volume: ModelVolume): boolean {
    return [...this.#group.bookOf(volume).openers].some(({ what }) => what === 'guest');
  }

  /** A volume that was put aside stays so only while somebody else has its name, or its domain is arriving. */
  #isAsideForNothing(volume: ModelVolume, ledger: Ledger): boolean {
    const seal = asideSealOf(volume);
    if (seal === undefined) return false;
    if (this.isIncoming(seal.domainUuid)) return false;
    if (this.#group.model.find(seal.target) === undefined) return true;
    // With the ledger lost there is no proof any more.
    const isKnown = ledger.fills().some(({ replaces }) => replaces === seal.fillId);
    return isKnown && !this.#group.isOpen(volume) && this.isReplaced(seal, ledger);
  }

  #asideOf(lv: string): Seal | undefined {
    return this.#group.model.volumes
      .flatMap((volume) => asideSealOf(volume) ?? [])
      .find(({ target }) => target === lv);
  }

  /** True if the program can and must make this disk ready by itself, or by one `lvp retry`. */
  isSatisfiable(uuid: string, disk: DiskSpec): boolean {
    const claimable = this.#sealedByJob(disk.lv);
    if (claimable !== undefined) return this.#agrees(disk, claimable);
    const digest = this.#store.digestOf(disk.image);
    if (digest === undefined || (disk.sha256 ?? this.#store.sidecarOf(disk.image)) !== digest) return false;
    const imageBytes = this.#store.sizeOf(disk.image);
    if (disk.sizeBytes !== undefined && disk.sizeBytes < imageBytes) return false;
    const volume = this.#group.model.find(disk.lv);
    const aside = this.#asideOf(disk.lv);
    if (volume === undefined) {
      const isFree = this.keys?.isKeyFree(uuid, disk) !== false;
      return isFree && (aside === undefined || aside.domainUuid === uuid);
    }
    const mark = readMark(volume.tags);
    // Whose name it is to be is for a person to say.
    if (aside !== undefined && mark.state !== 'ready') return false;
    if (mark.state === 'ready') return this.isSealedFor(uuid, disk) && this.keys?.isStartable(disk) !== false;
    if (this.keys?.isKeyFree(uuid, disk) === false) return false;
    if (mark.state === 'filling') return mark.domainUuid === uuid;
    const book = this.#group.bookOf(volume);
    const headerBytes = disk.key === undefined ? 0 : LUKS_BYTES;
    const isRoomy = volume.sizeBytes >= (disk.sizeBytes ?? imageBytes) + headerBytes;
    return mark.state === 'unmarked' && book.disk.isBlank && book.openers.size === 0 && isRoomy;
  }

  /** A volume that no domain has claimed yet. */
  #sealedByJob(lv: string): ModelVolume | undefined {
    const volume = this.#group.model.find(lv);
    return isJob((volume && sealOf(volume))?.domainUuid ?? '') ? volume : undefined;
  }

  /** Whether a domain with this disk gets what a job has filled: as long as somebody has it open, it does not. */
  #agrees(disk: DiskSpec, volume: ModelVolume): boolean {
    const seal = sealOf(volume);
    return (
      disk.key === undefined &&
      seal?.image === disk.image &&
      (disk.sha256 ?? seal.sha256) === seal.sha256 &&
      disk.generation === 1 &&
      (disk.sizeBytes ?? 0) <= volume.sizeBytes &&
      !this.#group.isOpen(volume) &&
      this.#asideOf(disk.lv) === undefined
    );
  }

  isSealedFor(uuid: string, disk: DiskSpec): boolean {
    const volume = this.#group.model.find(disk.lv);
    const seal = volume && sealOf(volume);
    if (seal?.domainUuid !== uuid || seal.generation !== disk.generation) return false;
    return (seal.encryption !== undefined) === (disk.key !== undefined);
  }

  #judgeDigest(seal: Seal, request: VolumeRequest, sinceMs: number): void {
    const name = imageName(request.image);
    const allowed =
      request.sha256 === undefined ? this.#store.sidecarsSince(name, sinceMs) : [request.sha256];
    if (allowed.includes(seal.sha256)) return;
    throw new Violation(
      'exact-bytes',
      `a volume was sealed with ${seal.sha256.slice(0, 8)}…, which nobody asked for`,
    );
  }

  #judgeStart(spec: DomainSpec, disk: DiskSpec | undefined, volume: ModelVolume, book: Book): void {
    const seal = sealOf(volume);
    const isItsOwn = seal?.domainUuid === spec.uuid && seal.generation === disk?.generation;
    if (spec.annotation === 'broken' || seal === undefined || !isItsOwn) {
      throw new Violation(
        'only-sealed-starts',
        `${spec.name} was started on ${volume.lv}, which is not sealed for it`,
      );
    }
    const heir = this.#group.model.volumes.find((other) => this.#isHeir(other, seal));
    if (heir !== undefined) {
      throw new Violation(
        'exact-bytes',
        `${spec.name} was started on what ${heir.lv} has taken the place of`,
      );
    }
    if (book.hasStarted) return;
    const image = this.#store.contentOf(seal.sha256);
    if (book.isSpoilt) return;
    if (image === undefined || !isImageAndZeros(plainOf(volume, book.disk.bytes), image)) {
      throw new Violation('exact-bytes', `${spec.name} was started and reads other bytes from ${volume.lv}`);
    }
  }

  #isHeir(volume: ModelVolume, old: Seal): boolean {
    const seal = sealOf(volume);
    return seal !== undefined && this.#intents.get(seal.fillId)?.record.replaces === old.fillId;
  }

  #judgeRest(volume: ModelVolume, domains: ReadonlyMap<string, Domain>): void {
    const book = this.#group.bookOf(volume);
    if (fillIdOf(volume.lv) !== undefined && !this.#isStuckForGoodReason(volume)) {
      const of = domains.size === 0 ? '' : `, marked ${readMark(volume.tags).state}`;
      throw new Violation('nothing-left', `${volume.lv}${of}`);
    }
    if (book.madeBy === 'us' || book.isTakenOver || this.#isStuckForGoodReason(volume)) return;
    if (volume.lv !== book.name || volume.tags.join() !== book.tags.join()) {
      throw new Violation(
        'foreign-untouched',
        `${book.name} is called ${volume.lv} [${volume.tags.join(' ')}]`,
      );
    }
  }

  /** Its domain may be arriving; or somebody else has its name now, and only a person can say whose it is to be. */
  #isStuckForGoodReason(volume: ModelVolume): boolean {
    const mark = readMark(volume.tags);
    // Made under a name in the moment between marking and renaming an earlier volume of that name, with the
    // helper killed right after: LVM renames by name. It is reported and never used.
    if (mark.state === 'unmarked' && this.#group.bookOf(volume).madeBy === 'somebody') {
      return fillIdOf(volume.lv) !== undefined;
    }
    if (mark.state === 'filling' && this.isIncoming(mark.domainUuid)) return true;
    const isHalfTaken = volume.tags.includes(ADOPTING_TAG);
    if (mark.state !== 'ready' && !(mark.state === 'filling' && isHalfTaken)) return false;
    return volume.lv !== mark.target && this.#group.model.find(mark.target) !== undefined;
  }
}

function sealOf(volume: ModelVolume): Seal | undefined {
  const mark = readMark(volume.tags);
  return mark.state === 'ready' ? mark : undefined;
}

/** The seal of a volume that was put aside. */
function asideSealOf(volume: ModelVolume): Seal | undefined {
  const seal = sealOf(volume);
  return seal !== undefined && volume.lv === retiredName(seal.fillId) ? seal : undefined;
}

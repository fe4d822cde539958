/** The verbs behind `lvp`. Each reads the world anew, so that its answer is the truth of this moment. */
import { formatAnnotation, readVolumeAttributes, withVolume } from '../core/annotation.ts';
import { AnnotationError } from '../core/xml/annotation-error.ts';
import type {
  AnnotateRequest,
  AnnotateResult,
  DomainDisks,
  DomainStatus,
  Explanation,
  LookResult,
  ReprovisionRequest,
  ReprovisionResult,
} from '../core/protocol/control-protocol.ts';
import { frozenProblem } from '../core/frozen.ts';
import { readDomainXml } from '../core/xml/domain-xml.ts';
import { ProvisionError } from '../core/errors.ts';
import type { Handover, ReceiveResult } from '../core/handover.ts';
import type { Locations } from '../core/volume/locate.ts';
import { locateVolumes } from '../core/volume/locate.ts';
import type { Plan } from '../core/plan.ts';
import { goesOn, volumeKey } from '../core/plan/planned-fill.ts';
import { isTriedAgain } from '../core/plan/retired.ts';
import type { Domain } from '../core/request.ts';
import { thinPlaces } from '../core/thin/thin-place.ts';
import { requireAnnotated } from './domains/annotated-disk.ts';
import { explanationOf, statusOf } from './domains/domain-status.ts';
import { disksOf, findDisks } from './domains/find-disks.ts';
import { handoverOf } from './arrivals/handover-of.ts';
import { observe } from './observe.ts';
import type { Keys } from './ports/keys.ts';
import type { FillRecord } from './ports/ledger.ts';
import type { LibvirtDomain } from './ports/libvirt.ts';
import type { ControlVerbs } from './ports/verbs.ts';
import type { LuksVolumes, VolumeDevices } from './ports/volumes.ts';
import { provisionAhead } from './gate/provision-ahead.ts';
import { receive } from './arrivals/receive.ts';
import { reclaim } from './ends/reclaim.ts';
import type { ReprovisionNeeds } from './ends/reprovision.ts';
import { reprovision } from './ends/reprovision.ts';
import { indexVolumes } from './volume-index.ts';
import type { WarmImages } from './images/warm-images.ts';
import { requireThawed } from './while-frozen.ts';

export interface ControlNeeds extends ReprovisionNeeds {
  readonly luks: LuksVolumes;
  readonly keys: Keys;
  readonly devices: VolumeDevices;
  /** The largest volume that is made for a domain that arrives, in bytes. */
  readonly virtualSizeMaxBytes: number;
  /** Without it, nothing is known of where images come from. */
  readonly warm?: Pick<WarmImages, 'targetsOf'> | undefined;
}

/** A domain as libvirt or, before its first start went through, the gate has shown it. */
interface Found {
  readonly domain: Domain;
  /** Who has shown it just now; undefined if it is only remembered from a refused first start. */
  readonly seen: 'libvirt' | undefined;
  readonly active: boolean;
  /** Mistakes of its annotation. */
  readonly problems: Plan['problems'];
}

export class DomainVerbs implements ControlVerbs {
  readonly #needs: ControlNeeds;

  constructor(needs: ControlNeeds) {
    this.#needs = needs;
  }

  async domains(): Promise<readonly DomainStatus[]> {
    const { domains, ledger, reconciler } = this.#needs;
    const uuids = new Set([
      ...ledger.domains().map(({ domain }) => domain.uuid),
      ...reconciler.unreadable.keys(),
    ]);
    const found: Found[] = [];
    for (const uuid of uuids) {
      const libvirts = await domains.read(uuid);
      const one = libvirts === undefined ? this.#fromGate(uuid) : fromLibvirt(libvirts);
      if (one !== undefined) found.push(one);
    }
    const plans = await this.#plan(found);
    return found
      .map((one, index) => this.#status(one, plans[index]))
      .sort((a, b) => a.name.localeCompare(b.name));
  }

  async domain(nameOrUuid: string): Promise<DomainStatus> {
    const found = await this.#find(nameOrUuid);
    const [planned] = await this.#plan([found]);
    return this.#status(found, planned);
  }

  async disks(nameOrUuid?: string): Promise<DomainDisks> {
    const { domains, pools } = this.#needs;
    if (nameOrUuid === undefined) return findDisks({ domains, pools });
    const { domain } = await this.#find(nameOrUuid);
    return { domains: [disksOf(domain, await pools.list())], more: false };
  }

  async explain(nameOrUuid: string): Promise<Explanation> {
    const found = await this.#find(nameOrUuid);
    const [planned] = await this.#plan([found]);
    const { uuid, name } = found.domain;
    if (found.problems.length === 0 && found.domain.annotation === undefined) {
      return {
        ...{ uuid, name, steps: [] },
        start: { allowed: true, why: 'it has no annotation, so this program has no say in it' },
      };
    }
    const warm = await this.#needs.warm?.targetsOf(found.domain.annotation?.volumes ?? []);
    return explanationOf(orMistakes(found, planned), warm);
  }

  async annotate(nameOrUuid: string, request: AnnotateRequest): Promise<AnnotateResult> {
    const { domains, reconciler } = this.#needs;
    const found = await domains.find(nameOrUuid);
    if (found === undefined) throw noSuchDomain(nameOrUuid);
    const { domain, problems } = readDomainXml(found.xml);
    // A broken annotation is not silently replaced: it may hold disks that were meant.
    if (problems.length > 0) throw new AnnotationError(problems);
    const targets = domain.disks.map(({ target }) => target);
    if (!targets.includes(request.target)) {
      throw new ProvisionError({
        code: 'DISK_NOT_FOUND',
        message: `Domain ${domain.name} has no disk ${request.target}.`,
        hint: targets.length === 0 ? 'It has no disks at all.' : `Its disks: ${targets.join(', ')}.`,
      });
    }
    const volume = readVolumeAttributes(attributesOf(request), `lvp annotate ${request.target}`);
    if (volume.value === undefined) throw new AnnotationError(volume.problems);
    const before = withVolume(domain.annotation, volume.value);
    const annotation = { ...before, start: request.start ?? before.start };
    const places = await this.#locate({ ...domain, annotation });
    const [problem] = places.problems.filter(({ target }) => target === request.target);
    if (problem !== undefined) throw new ProvisionError(problem);
    const xml = formatAnnotation(annotation);
    if (request.dryRun === true) return { xml, applied: false };
    await domains.writeAnnotation(found.uuid, xml);
    reconciler.request(found.uuid);
    return { xml, applied: true };
  }

  async #locate(domain: Domain): Promise<Locations> {
    const { pools, thinPools, volumes } = this.#needs;
    const index = indexVolumes((await volumes.list()).volumes);
    const thin = thinPlaces(thinPools, (place) => index.concerning(place));
    return locateVolumes(domain, await pools.list(), thin);
  }

  async cancel(nameOrUuid: string, target?: string): Promise<DomainStatus> {
    const found = await this.#find(nameOrUuid);
    const { fills, ledger, retiring } = this.#needs;
    for (const record of this.#records(found.domain, target)) {
      if (fills.running.has(record.fillId)) fills.cancel(record.fillId, 'cancelled by hand', 'kept');
      // Whoever is just putting its predecessor aside sees that, and gives it back.
      else if (retiring.has(record.fillId)) ledger.putFill({ ...record, state: 'cancelled' });
      // One that waits for its next try may have kept its volume: it is not tried again, and gives it back.
      else if (record.state === 'failed') ledger.putFill({ ...record, state: 'cancelled' });
    }
    await fills.settled(fills.runningFor(found.domain.uuid));
    await reclaim(this.#needs, this.#needs.reconciler.arrivals);
    this.#needs.reconciler.request(found.domain.uuid);
    return this.domain(found.domain.uuid);
  }

  async retry(nameOrUuid: string, target?: string): Promise<DomainStatus> {
    requireThawed(this.#needs.freeze);
    const found = await this.#find(nameOrUuid);
    const { domains, fills, ledger, reconciler } = this.#needs;
    const { domain, seen } = found;
    // One that libvirt does not know has no memory that it could have saved.
    const hasMemory = seen === 'libvirt' && (await domains.hasManagedSave(domain.uuid));
    // From its end to the acting on it nothing is waited for.
    const observation = await observe(this.#needs, [domain]);
    const records = this.#records(domain, target);
    const before = observation.plan(domain);
    if (hasMemory) requireNothingLost(before, records);
    for (const record of records) {
      if (fills.running.has(record.fillId)) continue;
      const disk = before.disks.find(({ request }) => request.target === record.request.target);
      // It needs no other try, and once it is gone the row is the proof that it was published.
      if (record.state === 'ready' && disk?.action === 'none') continue;
      if (goesOn(record) || isTriedAgain(record)) ledger.putFill({ ...record, attempts: 0, retryAtMs: 0 });
      // What says that an earlier volume may be removed is kept until it is.
      else if (record.state !== 'ready' || record.replaces === undefined)
        ledger.removeFill(record.domainUuid, record.request.target);
    }
    if (domain.annotation !== undefined) reconciler.act(observation.plan(domain), seen);
    return this.domain(domain.uuid);
  }

  async reprovision(nameOrUuid: string, request: ReprovisionRequest): Promise<ReprovisionResult> {
    if (request.dryRun !== true) requireThawed(this.#needs.freeze);
    const lookedAtMs = this.#needs.clock.monotonicMs();
    const found = await this.#needs.domains.find(nameOrUuid);
    if (found === undefined) throw noSuchDomain(nameOrUuid);
    return reprovision(this.#needs, { ...found, lookedAtMs }, request);
  }

  async provision(xml: string): Promise<DomainStatus> {
    requireThawed(this.#needs.freeze);
    const { uuid } = await provisionAhead(this.#needs, xml);
    return this.domain(uuid);
  }

  async look(): Promise<LookResult> {
    const { fills, freeze, reconciler } = this.#needs;
    await reconciler.requestAll();
    const frozen = freeze.frozen();
    return {
      ...(frozen === undefined ? {} : { frozen: frozenProblem(frozen) }),
      fills: fills.running.size,
    };
  }

  async handover(nameOrUuid: string): Promise<Handover> {
    const found = await this.#find(nameOrUuid);
    const observation = await observe(this.#needs, [found.domain]);
    const handover = handoverOf(orMistakes(found, observation.plan(found.domain)), observation);
    this.#needs.reconciler.ends.handedOver(handover.uuid);
    return handover;
  }

  async receive(handover: Handover): Promise<ReceiveResult> {
    requireThawed(this.#needs.freeze);
    return receive({ ...this.#needs, arrivals: this.#needs.reconciler.arrivals }, handover);
  }

  /** The ledger's rows of all annotated disks or of one; a disk without annotation is a mistake of the call. */
  #records(domain: Domain, target: string | undefined): FillRecord[] {
    if (target !== undefined) requireAnnotated(domain, target);
    return this.#needs.ledger
      .fillsOf(domain.uuid)
      .filter((fill) => target === undefined || fill.request.target === target);
  }

  async #find(nameOrUuid: string): Promise<Found> {
    const { domains, ledger } = this.#needs;
    const libvirts = await domains.find(nameOrUuid);
    if (libvirts !== undefined) return fromLibvirt(libvirts);
    const known = ledger
      .domains()
      .find(({ domain }) => domain.uuid === nameOrUuid || domain.name === nameOrUuid);
    const found = known === undefined ? undefined : this.#fromGate(known.domain.uuid);
    if (found === undefined) throw noSuchDomain(nameOrUuid);
    return found;
  }

  #fromGate(uuid: string): Found | undefined {
    const known = this.#needs.ledger.domainOf(uuid);
    return known?.origin === 'gate'
      ? { domain: known.domain, seen: undefined, active: false, problems: [] }
      : undefined;
  }

  async #plan(found: readonly Found[]): Promise<readonly Plan[]> {
    const domains = found.map(({ domain }) => domain);
    const observation = await observe(this.#needs, domains);
    return domains.map((domain) => observation.plan(domain));
  }

  #status(found: Found, planned: Plan | undefined): DomainStatus {
    return statusOf(this.#needs, orMistakes(found, planned), found.active);
  }
}

/** Where the annotation cannot be read there is nothing to plan, only its mistakes. */
function orMistakes({ domain, problems }: Found, planned: Plan | undefined): Plan {
  return planned === undefined || problems.length > 0 ? { domain, disks: [], problems } : planned;
}

function fromLibvirt(libvirts: LibvirtDomain): Found {
  const { domain, problems } = readDomainXml(libvirts.xml);
  return { domain, problems, seen: 'libvirt', active: libvirts.active };
}

/** The request's values under the names of the annotation's attributes. */
function attributesOf(request: AnnotateRequest): Parameters<typeof readVolumeAttributes>[0] {
  const { target, image, format, compression, sha256, sha512, version, size, generation } = request;
  return {
    ...{ target, image, format, compression, sha256, sha512, version, size },
    generation: generation?.toString(),
    'on-undefine': request.onUndefine,
    'after-migration': request.afterMigration,
    key: request.key,
  };
}

function noSuchDomain(nameOrUuid: string): ProvisionError {
  return new ProvisionError({
    code: 'DOMAIN_NOT_FOUND',
    message: `libvirt knows no domain ${nameOrUuid}.`,
    hint: 'See `virsh list --all`.',
  });
}

/** What is published and gone is made again from the image; memory that was saved knows another content. */
function requireNothingLost({ domain, disks }: Plan, records: readonly FillRecord[]): void {
  const isLost = ({ action, request: { target } }: Plan['disks'][number]) =>
    action === 'hold' && records.some(({ state, request }) => state === 'ready' && request.target === target);
  const lost = disks.find(isLost);
  if (lost === undefined) return;
  throw new ProvisionError({
    code: 'VOLUME_STATE',
    message: `Volume ${volumeKey(lost.location)} is not made again: the memory of domain ${domain.name} is saved, and would meet a disk that it does not know.`,
    hint: `Bring the volume back as it was; or give the memory up (virsh managedsave-remove ${domain.name}), and then: lvp retry ${domain.name}`,
  });
}

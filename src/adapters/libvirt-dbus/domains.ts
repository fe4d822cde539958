/** Domains over libvirt-dbus: https://libvirt.org/html/libvirt-libvirt-domain.html for names and flags. */
import { ANNOTATION_NAMESPACE } from '../../core/annotation.ts';
import { ProvisionError } from '../../core/errors.ts';
import type { ShutoffReason } from '../../core/plan/last-end.ts';
import { isUuid } from '../../core/uuid.ts';
import type { Domains, LibvirtDomain } from '../../provision/ports/libvirt.ts';
import type { CallLibvirt } from './calls.ts';
import { callConnect, getProperty } from './calls.ts';
import { saysLibvirt } from './problems.ts';
import type { MemberOf } from './rights.ts';
import { domainPath, uuidOf } from './signals.ts';
import { readBoolean, readPair, readPaths, readString } from './values.ts';

const VIR_DOMAIN_XML_INACTIVE = 2;
const VIR_DOMAIN_METADATA_ELEMENT = 2;
const VIR_DOMAIN_AFFECT_LIVE = 1;
const VIR_DOMAIN_AFFECT_CONFIG = 2;

const VIR_DOMAIN_SHUTOFF = 5;
/** virDomainShutoffReason: shut down, destroyed, crashed, from a snapshot and by the driver are ends of a guest. */
const SHUTOFF_REASONS: Readonly<Record<number, ShutoffReason>> = {
  0: 'unknown',
  ...{ 1: 'ended', 2: 'ended', 3: 'ended', 7: 'ended', 8: 'ended' },
  4: 'migrated',
  5: 'saved',
  6: 'failed',
};

/** A start reads hundreds of CPU properties from QEMU and waits for hooks. */
const START_DEADLINE_MS = 120_000;

export class LibvirtDomains implements Domains {
  readonly #call: CallLibvirt;
  /** Starts queue up behind each other: two of them would take both slots that domain calls have. */
  #lastStart: Promise<unknown> = Promise.resolve();

  constructor(call: CallLibvirt) {
    this.#call = call;
  }

  async list(): Promise<readonly string[]> {
    const paths = readPaths(await callConnect(this.#call, 'ListDomains', 'u', 0));
    return paths.map(uuidOf).filter((uuid) => uuid !== undefined);
  }

  async read(uuid: string): Promise<LibvirtDomain | undefined> {
    return ifFound(async () => {
      const persistent = readBoolean(await this.#property(uuid, 'Persistent'));
      const domain = {
        uuid,
        name: readString(await this.#property(uuid, 'Name')),
        xml: await this.#xml(uuid),
        active: readBoolean(await this.#property(uuid, 'Active')),
        persistent,
        autostart: persistent && readBoolean(await this.#property(uuid, 'Autostart')),
      };
      if (!persistent || domain.active) return domain;
      const shutoff = shutoffReason(readPair(await this.#method(uuid, 'GetState', 'u', 0)));
      // Started between these calls: neither reading is right any more, and another look is on its way.
      return shutoff === undefined ? { ...domain, active: true } : { ...domain, shutoff };
    });
  }

  async everyXml(uuid: string): Promise<readonly string[] | undefined> {
    return ifFound(async () => {
      const texts = [
        readString(await this.#method(uuid, 'GetXMLDesc', 'u', VIR_DOMAIN_XML_INACTIVE)),
        readString(await this.#method(uuid, 'GetXMLDesc', 'u', 0)),
      ];
      return [...new Set(texts)];
    });
  }

  xml(uuid: string): Promise<string | undefined> {
    return ifFound(() => this.#xml(uuid));
  }

  async find(nameOrUuid: string): Promise<LibvirtDomain | undefined> {
    const uuid = nameOrUuid.toLowerCase();
    // A domain may be named like a UUID: who is not found by UUID is looked up by name.
    const byUuid = isUuid(uuid) ? await this.read(uuid) : undefined;
    if (byUuid !== undefined) return byUuid;
    const found = await ifFound(() => callConnect(this.#call, 'DomainLookupByName', 's', nameOrUuid));
    const foundUuid = uuidOf(found?.[0]);
    return foundUuid === undefined ? undefined : this.read(foundUuid);
  }

  async start(uuid: string): Promise<void> {
    const start = this.#lastStart.then(() => this.#start(uuid));
    this.#lastStart = start.catch(() => undefined);
    return start;
  }

  async #start(uuid: string): Promise<void> {
    try {
      await this.#call({
        path: domainPath(uuid),
        interface: 'org.libvirt.Domain',
        member: 'Create',
        signature: 'u',
        body: [0],
        deadlineMs: START_DEADLINE_MS,
      });
    } catch (error) {
      if (saysLibvirt(error, 'domain is already running')) return;
      throw saysLibvirt(error, 'Domain not found') ? domainGone(uuid, error) : error;
    }
  }

  async hasArrived(uuid: string): Promise<boolean> {
    const state = await ifFound(async () => readPair(await this.#method(uuid, 'GetState', 'u', 0)));
    return state !== undefined && isArrived(state);
  }

  async hasManagedSave(uuid: string): Promise<boolean> {
    return readBoolean(await this.#method(uuid, 'HasManagedSaveImage', 'u', 0));
  }

  /**
   * libvirt binds the prefix of its `key` argument on the given element itself, and refuses one that
   * binds it already; so the element goes out without our prefix and comes back with it:
   *
   *   $ virsh metadata vm urn:x --key vp --set '<vp:provision xmlns:vp="urn:x"/>'
   *   error: internal error: failed to create a new XML namespace
   */
  async writeAnnotation(uuid: string, elementXml: string): Promise<void> {
    const domain = await this.read(uuid);
    if (domain === undefined) throw domainGone(uuid);
    const flags =
      (domain.persistent ? VIR_DOMAIN_AFFECT_CONFIG : 0) | (domain.active ? VIR_DOMAIN_AFFECT_LIVE : 0);
    const element = withoutPrefix(elementXml);
    await this.#method(
      uuid,
      'SetMetadata',
      'isssu',
      VIR_DOMAIN_METADATA_ELEMENT,
      element,
      'vp',
      ANNOTATION_NAMESPACE,
      flags,
    );
  }

  /** Never VIR_DOMAIN_XML_SECURE: no password ever enters this process. A transient domain has only the one XML. */
  async #xml(uuid: string): Promise<string> {
    return readString(await this.#method(uuid, 'GetXMLDesc', 'u', VIR_DOMAIN_XML_INACTIVE));
  }

  #method(
    uuid: string,
    member: MemberOf<'org.libvirt.Domain'>,
    signature: string,
    ...body: unknown[]
  ): Promise<readonly unknown[]> {
    return this.#call({ path: domainPath(uuid), interface: 'org.libvirt.Domain', member, signature, body });
  }

  #property(uuid: string, name: string): Promise<readonly unknown[]> {
    return getProperty(this.#call, domainPath(uuid), 'org.libvirt.Domain', name);
  }
}

const VIR_DOMAIN_RUNNING = 1;
const VIR_DOMAIN_PAUSED = 3;
/** MIGRATED; and what a guest that has arrived comes to later: UNPAUSED, MIGRATION_CANCELED, SAVE_CANCELED, WAKEUP. */
const RUNNING_AFTER_ARRIVAL: readonly number[] = [2, 5, 6, 7, 8];
/** USER, SAVE, DUMP, IOERROR, SNAPSHOT. Until it has arrived it is paused for MIGRATION or STARTING_UP. */
const PAUSED_AFTER_ARRIVAL: readonly number[] = [1, 3, 4, 5, 9];

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainRunningReason and virDomainPausedReason */
function isArrived([state, reason]: readonly [number, number]): boolean {
  if (state === VIR_DOMAIN_RUNNING) return RUNNING_AFTER_ARRIVAL.includes(reason);
  return state === VIR_DOMAIN_PAUSED && PAUSED_AFTER_ARRIVAL.includes(reason);
}

/** Undefined for a domain that is not shut off. */
function shutoffReason([state, reason]: readonly [number, number]): ShutoffReason | undefined {
  if (state !== VIR_DOMAIN_SHUTOFF) return undefined;
  // A reason that this program does not know proves nothing.
  return SHUTOFF_REASONS[reason] ?? 'failed';
}

/** The element with every name of ours unprefixed and no declaration of the prefix. */
function withoutPrefix(elementXml: string): string {
  return elementXml
    .replace(/\sxmlns:vp=(?:"[^"]*"|'[^']*')/, '')
    .replaceAll('<vp:', '<')
    .replaceAll('</vp:', '</');
}

async function ifFound<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch (error) {
    if (saysLibvirt(error, 'Domain not found')) return undefined;
    throw error;
  }
}

function domainGone(uuid: string, cause?: unknown): ProvisionError {
  return new ProvisionError({
    code: 'DOMAIN_NOT_FOUND',
    message: `libvirt has no domain ${uuid} any more.`,
    cause,
  });
}

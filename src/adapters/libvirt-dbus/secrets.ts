/**
 * What guests open their disks with, as secrets of libvirt: https://libvirt.org/html/libvirt-libvirt-secret.html
 *
 * The object of a secret is named by its UUID, and ours are made of the path of the volume: none is ever looked up.
 */
import { ProvisionError } from '../../core/errors.ts';
import { CHANGED_SECRET_HINT, secretUuid, secretXml } from '../../core/key/secret-name.ts';
import type { OurSecret } from '../../core/xml/secret-xml.ts';
import { ourSecret } from '../../core/xml/secret-xml.ts';
import type { VolumeKey } from '../../provision/ports/keys.ts';
import type { GuestSecrets } from '../../provision/ports/libvirt.ts';
import type { CallLibvirt } from './calls.ts';
import { callConnect } from './calls.ts';
import { saysLibvirt } from './problems.ts';
import type { MemberOf } from './rights.ts';
import { CONNECT_PATH } from './signals.ts';
import { readPaths, readString } from './values.ts';

/** libvirtd answers from its memory; a start may be waiting. */
const SECRET_DEADLINE_MS = 3_000;
const SECRET_PREFIX = `${CONNECT_PATH}/secret/_`;
/** Of a UUID that was made of a name, as ours are; libvirt's own are random. */
const NAME_BASED = /^[0-9a-f]{8}_[0-9a-f]{4}_5[0-9a-f]{3}_[0-9a-f]{4}_[0-9a-f]{12}$/;

export class LibvirtSecrets implements GuestSecrets {
  readonly #call: CallLibvirt;

  constructor(call: CallLibvirt) {
    this.#call = call;
  }

  async set(path: string, key: VolumeKey): Promise<void> {
    const object = objectOf(path);
    const known = await this.#xml(object);
    // libvirt would keep of it what the new definition does not name.
    if (known !== undefined && !isIntact(known, path)) await this.#undefine(object);
    try {
      await callConnect(this.#limited, 'SecretDefineXML', 'su', secretXml(path), 0);
    } catch (error) {
      throw saysLibvirt(error, 'already defined for use with') ? somebodyElses(path, error) : error;
    }
    await this.#limited({
      ...{ path: object, interface: 'org.libvirt.Secret', member: 'SetValue', signature: 'ayu' },
      ...{ secret: key.bytes, body: [0] },
    });
    // Whoever may define secrets may have put another one in its place before it had its value.
    const now = await this.#xml(object);
    if (now !== undefined && isIntact(now, path)) return;
    await this.#undefine(object);
    throw changedMeanwhile(path);
  }

  async unset(path: string): Promise<boolean> {
    return this.#undefine(objectOf(path));
  }

  async list(): Promise<readonly OurSecret[]> {
    const found: OurSecret[] = [];
    for (const object of readPaths(await callConnect(this.#limited, 'ListSecrets', 'u', 0))) {
      if (!NAME_BASED.test(object.slice(SECRET_PREFIX.length))) continue;
      const xml = await this.#xml(object);
      const ours = xml === undefined ? undefined : ourSecret(xml);
      if (ours !== undefined) found.push(ours);
    }
    return found;
  }

  /** With what libvirt has of it on disk. False if there is none. */
  async #undefine(object: string): Promise<boolean> {
    const done = await ifFound(() => this.#method(object, 'Undefine', ''));
    return done !== undefined;
  }

  /** Its value is not in it. */
  #xml(object: string): Promise<string | undefined> {
    return ifFound(async () => readString(await this.#method(object, 'GetXMLDesc', 'u', 0)));
  }

  #method(
    path: string,
    member: MemberOf<'org.libvirt.Secret'>,
    signature: string,
    ...body: unknown[]
  ): Promise<readonly unknown[]> {
    return this.#limited({ path, interface: 'org.libvirt.Secret', member, signature, body });
  }

  readonly #limited: CallLibvirt = (call) => this.#call({ deadlineMs: SECRET_DEADLINE_MS, ...call });
}

function objectOf(path: string): string {
  return `${SECRET_PREFIX}${secretUuid(path).replaceAll('-', '_')}`;
}

function isIntact(xml: string, path: string): boolean {
  const ours = ourSecret(xml);
  return ours?.path === path && ours.isIntact;
}

async function ifFound<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch (error) {
    if (saysLibvirt(error, 'Secret not found')) return undefined;
    throw error;
  }
}

function somebodyElses(path: string, cause?: unknown): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_STATE',
    message: `libvirt has a secret for ${path} already, and somebody else has made it; it was left as it is.`,
    hint: `If it is not needed: virsh secret-list; virsh secret-undefine UUID. The keys of provisioned volumes are handed to libvirt by this service alone.`,
    cause,
  });
}

function changedMeanwhile(path: string): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_STATE',
    message: `Somebody has defined the secret of libvirt for ${path} anew while its key was handed over; it was removed.`,
    hint: CHANGED_SECRET_HINT,
  });
}

/** libvirt: its domains, pools and secrets, and what it tells of them. */
import type { Problem } from '../../core/errors.ts';
import type { ShutoffReason } from '../../core/plan/last-end.ts';
import type { LogicalPool } from '../../core/request.ts';
import type { OurSecret } from '../../core/xml/secret-xml.ts';
import type { VolumeKey } from './keys.ts';

/** A domain as libvirt knows it now. */
export interface LibvirtDomain {
  readonly uuid: string;
  readonly name: string;
  /** The inactive (next boot) XML of a persistent domain, else the live one. Without security information. */
  readonly xml: string;
  readonly active: boolean;
  readonly persistent: boolean;
  readonly autostart: boolean;
  /** Why it is shut off; only of a persistent domain that is. */
  readonly shutoff?: ShutoffReason | undefined;
}

/** Domains, over org.libvirt on the system bus. A domain that is gone is `undefined`, not an error. */
export interface Domains {
  list(): Promise<readonly string[]>;
  read(uuid: string): Promise<LibvirtDomain | undefined>;
  /** Only its XML, as in LibvirtDomain: a single call, for a host may have thousands that are not annotated. */
  xml(uuid: string): Promise<string | undefined>;
  find(nameOrUuid: string): Promise<LibvirtDomain | undefined>;
  /** All XML there is of it, without security information: the definition, and the live one if it runs. */
  everyXml(uuid: string): Promise<readonly string[] | undefined>;
  start(uuid: string): Promise<void>;
  /** True if its guest runs here, or did and is paused, and did not begin here: it has come with all its bytes. */
  hasArrived(uuid: string): Promise<boolean>;
  /** Whether its memory is saved (`virsh managedsave`): its next start goes on with that memory. */
  hasManagedSave(uuid: string): Promise<boolean>;
  /** Replaces the element in our namespace, in the persistent definition and, if running, the live one. */
  writeAnnotation(uuid: string, elementXml: string): Promise<void>;
}

/** Logical storage pools, over org.libvirt. These answer even while a qemu hook holds a domain. */
export interface Pools {
  list(): Promise<readonly LogicalPool[]>;
  /** Makes libvirt see new, renamed and removed LVs. */
  refresh(pool: string): Promise<void>;
  start(pool: string): Promise<void>;
  /**
   * Removes an LV under libvirt's own lock of the pool, so that no concurrent refresh can trip over it
   * and take the pool down. Succeeds if the volume is already gone.
   */
  deleteVolume(pool: string, lv: string): Promise<void>;
}

/**
 * What has happened in libvirt; every one of these means "look again", and no more. The one exception is the
 * `change` of a domain: once it has gone nobody can look up any more how its guest ended.
 */
export type LibvirtEvent =
  /** `mayHaveRun`: its guest was let run or paused. */
  | {
      readonly kind: 'domain';
      readonly uuid: string;
      readonly change?: DomainChange | undefined;
      readonly mayHaveRun?: true;
    }
  | { readonly kind: 'pool' }
  /** The connection was made or made again: anything may have happened meanwhile. */
  | { readonly kind: 'connected' }
  | { readonly kind: 'disconnected'; readonly problem: Problem };

/** It was defined or its metadata changed; its guest began to run; was shut down or destroyed; moved to another host. */
export type DomainChange = 'defined' | 'begun' | 'ended' | 'migrated';

/** What libvirt is told to open the disks of guests with. Ephemeral and private secrets: in its memory alone, and nobody can read them. */
export interface GuestSecrets {
  /**
   * Defines or replaces the secret of that volume's path (secretUuid()) and sets its value; one that somebody has changed
   * is replaced. VOLUME_STATE if somebody else's secret stands for that path, or if ours is changed meanwhile; then it is
   * not set. The key is not wiped. Works while a qemu hook of `prepare` waits.
   */
  set(path: string, key: VolumeKey): Promise<void>;
  /** Also one that somebody has changed; never one that is not ours. False if there was none. */
  unset(path: string): Promise<boolean>;
  /** Those that are ours. */
  list(): Promise<readonly OurSecret[]>;
}

/** Logical storage pools over libvirt-dbus. */
import { ProvisionError } from '../../core/errors.ts';
import type { LogicalPool } from '../../core/request.ts';
import { parsePoolXml } from '../../core/xml/pool-xml.ts';
import type { Pools } from '../../provision/ports/libvirt.ts';
import type { CallLibvirt } from './calls.ts';
import { callConnect, getProperty } from './calls.ts';
import { saysLibvirt } from './problems.ts';
import type { MemberOf } from './rights.ts';
import { readBoolean, readPaths, readString } from './values.ts';

/** A refresh runs lvs, a start vgchange, a deletion lvremove: each may wait for LVM's lock. */
const LVM_DEADLINE_MS = 60_000;

export class LibvirtPools implements Pools {
  readonly #call: CallLibvirt;

  constructor(call: CallLibvirt) {
    this.#call = call;
  }

  async list(): Promise<readonly LogicalPool[]> {
    const pools: LogicalPool[] = [];
    for (const path of readPaths(await callConnect(this.#call, 'ListStoragePools', 'u', 0))) {
      const pool = await this.#read(path);
      if (pool !== undefined) pools.push(pool);
    }
    return pools;
  }

  async refresh(pool: string): Promise<void> {
    await this.#pool(await this.#pathOf(pool), 'Refresh', LVM_DEADLINE_MS, 'u', 0).catch(onPool(pool));
  }

  async start(pool: string): Promise<void> {
    try {
      await this.#pool(await this.#pathOf(pool), 'Create', LVM_DEADLINE_MS, 'u', 0);
    } catch (error) {
      if (saysLibvirt(error, 'is already active')) return;
      onPool(pool)(error);
    }
  }

  async deleteVolume(pool: string, lv: string): Promise<void> {
    const path = await this.#pathOf(pool);
    // libvirt may not know the volume yet, or may remember one that is gone: a refresh settles both.
    const known = await this.#volume(path, lv).catch(onPool(pool));
    if (known !== undefined) {
      try {
        await this.#delete(known);
        return;
      } catch (error) {
        if (saysLibvirt(error, 'Storage pool not found')) throw error;
      }
    }
    await this.refresh(pool);
    const volume = await this.#volume(path, lv).catch(onPool(pool));
    if (volume !== undefined) await this.#delete(volume).catch(onPool(pool));
  }

  /** Undefined for a pool of another type, and for one that has gone meanwhile. */
  async #read(path: string): Promise<LogicalPool | undefined> {
    try {
      const xml = readString(await this.#pool(path, 'GetXMLDesc', undefined, 'u', 0));
      return parsePoolXml(
        xml,
        readBoolean(await getProperty(this.#call, path, 'org.libvirt.StoragePool', 'Active')),
      );
    } catch (error) {
      if (saysLibvirt(error, 'Storage pool not found')) return undefined;
      throw error;
    }
  }

  async #pathOf(pool: string): Promise<string> {
    return readString(
      await callConnect(this.#call, 'StoragePoolLookupByName', 's', pool).catch(onPool(pool)),
    );
  }

  async #volume(poolPath: string, lv: string): Promise<string | undefined> {
    try {
      return readString(await this.#pool(poolPath, 'StorageVolLookupByName', undefined, 's', lv));
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  }

  async #delete(volumePath: string): Promise<void> {
    try {
      await this.#call({
        path: volumePath,
        interface: 'org.libvirt.StorageVol',
        member: 'Delete',
        signature: 'u',
        body: [0],
        deadlineMs: LVM_DEADLINE_MS,
      });
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  #pool(
    path: string,
    member: MemberOf<'org.libvirt.StoragePool'>,
    deadlineMs: number | undefined,
    signature: string,
    ...body: unknown[]
  ): Promise<readonly unknown[]> {
    const deadline = deadlineMs === undefined ? {} : { deadlineMs };
    return this.#call({ path, interface: 'org.libvirt.StoragePool', member, signature, body, ...deadline });
  }
}

function isGone(error: unknown): boolean {
  return saysLibvirt(error, 'Storage volume not found');
}

/** Names the pool in what libvirt says about it, and tells a stopped or missing pool from other failures. */
function onPool(pool: string): (error: unknown) => never {
  return (error) => {
    if (saysLibvirt(error, 'Storage pool not found')) {
      throw new ProvisionError({
        code: 'POOL_UNSUITABLE',
        message: `libvirt has no storage pool '${pool}'.`,
        hint: 'List them with: virsh pool-list --all',
        cause: error,
      });
    }
    if (saysLibvirt(error, 'is not active')) {
      throw new ProvisionError({
        code: 'POOL_INACTIVE',
        message: `The storage pool '${pool}' is stopped.`,
        hint: `Start it with: virsh pool-start ${pool}`,
        cause: error,
      });
    }
    throw error;
  };
}

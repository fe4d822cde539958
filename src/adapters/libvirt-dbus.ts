/**
 * libvirt, over org.libvirt on the system bus (libvirt-dbus). `connection` owns the connection's life,
 * `domains`, `pools` and `secrets` are the ports that use it.
 */
import type { Domains, GuestSecrets, Pools } from '../provision/ports/libvirt.ts';
import type { LibvirtConnectionOptions } from './libvirt-dbus/connection.ts';
import { LibvirtConnection } from './libvirt-dbus/connection.ts';
import { LibvirtDomains } from './libvirt-dbus/domains.ts';
import { LibvirtPools } from './libvirt-dbus/pools.ts';
import { LibvirtSecrets } from './libvirt-dbus/secrets.ts';

export interface Libvirt {
  readonly connection: LibvirtConnection;
  readonly domains: Domains;
  readonly pools: Pools;
  readonly secrets: GuestSecrets;
}

/** Nothing happens before `connection.start()`; calls before the first `connected` are refused. */
export function libvirtOverDbus(options: LibvirtConnectionOptions): Libvirt {
  const connection = new LibvirtConnection(options);
  return {
    connection,
    domains: new LibvirtDomains((call) => connection.callDomain(call)),
    pools: new LibvirtPools((call) => connection.callPool(call)),
    secrets: new LibvirtSecrets((call) => connection.callSecret(call)),
  };
}

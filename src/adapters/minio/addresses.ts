/**
 * The addresses at which the store may be. A name stands for whatever DNS says at the moment, so it is judged each
 * time a connection is made, and the connection is made with exactly the addresses that were judged.
 */
import dns from 'node:dns';
import net from 'node:net';
import type { Subnet } from '../../core/settings/subnet.ts';

/** The store's name stands for no address that is allowed, or its address is not. Nothing was sent. */
export class AddressRefused extends Error {
  override readonly name = 'AddressRefused';

  constructor(host: string, found: readonly string[]) {
    const addresses = found.length === 1 && found[0] === host ? '' : ` (${found.slice(0, 8).join(', ')})`;
    super(`${host}${addresses} is not within minio.addresses`);
  }
}

export class StoreAddresses {
  readonly #allowed = new net.BlockList();
  readonly #resolve: typeof dns.lookup;

  constructor(allowed: readonly Subnet[], resolve: typeof dns.lookup = dns.lookup) {
    for (const { address, prefix, family } of allowed) this.#allowed.addSubnet(address, prefix, family);
    this.#resolve = resolve;
  }

  /** Throws for an address outside; a name passes, and is judged by `lookup`. */
  check(host: string): void {
    if (net.isIP(host) !== 0 && !this.#has(host)) throw new AddressRefused(host, [host]);
  }

  /** For sockets and agents: the addresses of a name that are allowed, or AddressRefused if none is. */
  readonly lookup: net.LookupFunction = (name, options, callback) => {
    this.#resolve(name, { ...options, all: true }, (error, found) => {
      if (error !== null) {
        callback(error, []);
        return;
      }
      const allowed = found.filter(({ address }) => this.#has(address));
      const [first] = allowed;
      if (first === undefined) {
        callback(
          new AddressRefused(
            name,
            found.map(({ address }) => address),
          ),
          [],
        );
      } else if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };

  #has(address: string): boolean {
    return this.#allowed.check(address, net.isIP(address) === 4 ? 'ipv4' : 'ipv6');
  }
}

/** A range of addresses: those that begin with the first `prefix` bits of `address`. */
export interface Subnet {
  readonly address: string;
  readonly prefix: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** The calls that domains, pools and secrets have in common. */
import type { LibvirtCall, MemberOf } from './rights.ts';
import { CONNECT_PATH } from './signals.ts';

/** How calls reach libvirt: LibvirtConnection's `callDomain`, `callPool` or `callSecret`. */
export type CallLibvirt = (call: LibvirtCall) => Promise<readonly unknown[]>;

/** A method of the connection to libvirt itself, not of one of its objects. */
export function callConnect(
  call: CallLibvirt,
  member: MemberOf<'org.libvirt.Connect'>,
  signature: string,
  ...body: unknown[]
): Promise<readonly unknown[]> {
  return call({ path: CONNECT_PATH, interface: 'org.libvirt.Connect', member, signature, body });
}

/** A property of one object. */
export function getProperty(
  call: CallLibvirt,
  path: string,
  of: 'org.libvirt.Domain' | 'org.libvirt.StoragePool',
  name: string,
): Promise<readonly unknown[]> {
  return call({
    path,
    interface: 'org.freedesktop.DBus.Properties',
    member: 'Get',
    signature: 'ss',
    body: [of, name],
  });
}

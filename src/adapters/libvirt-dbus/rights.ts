/**
 * All that this program ever calls of libvirt-dbus. The bus lets it call this and nothing else
 * (systemd/libvirt-volume-provisioner.dbus.conf); a test keeps the two equal, and the types keep calls to it.
 */
import type { BusCall } from './bus.ts';

export const CALLED = {
  'org.freedesktop.DBus.Properties': ['Get'],
  'org.libvirt.Connect': [
    'DomainLookupByName',
    'ListDomains',
    'ListSecrets',
    'ListStoragePools',
    'SecretDefineXML',
    'StoragePoolLookupByName',
  ],
  'org.libvirt.Domain': ['Create', 'GetState', 'GetXMLDesc', 'HasManagedSaveImage', 'SetMetadata'],
  'org.libvirt.Secret': ['GetXMLDesc', 'SetValue', 'Undefine'],
  'org.libvirt.StoragePool': ['Create', 'GetXMLDesc', 'Refresh', 'StorageVolLookupByName'],
  'org.libvirt.StorageVol': ['Delete'],
} as const;

/** The methods of an interface that are called; the names are libvirt-dbus's. */
export type MemberOf<Interface extends keyof typeof CALLED> = (typeof CALLED)[Interface][number];

/** A method on one object of libvirt-dbus. */
export type LibvirtCall = Omit<BusCall, 'destination' | 'interface' | 'member'> &
  {
    [Interface in keyof typeof CALLED]: {
      readonly interface: Interface;
      readonly member: MemberOf<Interface>;
    };
  }[keyof typeof CALLED];

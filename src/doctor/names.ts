/** Names and places of ours on a host, as the package makes them. */
export const USER = 'libvirt-volume-provisioner';
export const SERVICE = 'libvirt-volume-provisioner.service';
export const HELPER = 'libvirt-volume-provisioner-helper.service';
export const SOCKET = 'libvirt-volume-provisioner-helper.socket';
export const HELPER_SOCKET = '/run/libvirt-volume-provisioner-helper.socket';
export const LIBRARY = '/usr/lib/libvirt-volume-provisioner';
export const HOOKS = '/etc/libvirt/hooks';
export const HOOK = `${HOOKS}/qemu.d/50-libvirt-volume-provisioner`;
export const HOOK_INSTALLED_FROM = `${LIBRARY}/hooks/qemu`;
export const UDEV_RULE = '60-libvirt-volume-provisioner.rules';
/** What the bus lets the daemon call. */
export const BUS_POLICY = '/usr/share/dbus-1/system.d/libvirt-volume-provisioner.conf';
/** Whose members may call all of libvirt. */
export const LIBVIRT_GROUP = 'libvirt';
/** One of these has libvirt's QEMU driver and runs its hooks. */
export const HOOK_DAEMONS = ['libvirtd', 'virtqemud'] as const;

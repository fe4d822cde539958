/** Every command that the doctor runs, word by word: nothing that was read on the host is ever put into one. */
import { HOOK_DAEMONS, SERVICE, HELPER, SOCKET } from './names.ts';
import { DAEMON_PROPERTIES, HELPER_PROPERTIES, SOCKET_PROPERTIES } from './unit-properties.ts';

const show = (units: readonly string[], properties: readonly string[]) =>
  ['systemctl', 'show', '--timestamp=us+utc', `--property=${properties.join(',')}`, '--', ...units] as const;

const virsh = (...words: readonly string[]) => [
  ...['virsh', '--connect', 'qemu:///system', '--readonly', '--quiet'],
  ...words,
];

/** A suspended device would hold it for ever; without locks it waits for nobody (as in hooks/qemu). */
const LVM = ['--readonly', '--config', 'devices{ignore_suspended_devices=1}'];

export const COMMANDS = {
  'show-daemon': show([SERVICE], DAEMON_PROPERTIES),
  'show-helper': show([HELPER], HELPER_PROPERTIES),
  'show-socket': show([SOCKET], SOCKET_PROPERTIES),
  'show-libvirt': show(
    HOOK_DAEMONS.map((daemon) => `${daemon}.service`),
    ['Id', 'LoadState', 'ActiveState', 'StateChangeTimestamp', 'ActiveEnterTimestamp'],
  ),
  'show-libvirt-sockets': show(
    ['libvirtd-tcp.socket', 'libvirtd-tls.socket', 'virtproxyd-tcp.socket', 'virtproxyd-tls.socket'],
    ['Id', 'ActiveState'],
  ),
  'journald-settings': ['systemd-analyze', 'cat-config', '--no-pager', 'systemd/journald.conf'],
  'firewall-chains': ['nft', 'list', 'chains'],
  'lvm-settings': ['lvmconfig', '--typeconfig', 'full', 'devices'],
  'lvm-growth': ['lvmconfig', '--typeconfig', 'full', 'activation'],
  // Only the kernel knows how full they are, so that this one may have to wait for a lock.
  'thin-pools': [
    ...['lvs', '--config', 'devices{ignore_suspended_devices=1}', '--noheadings', '--separator', ','],
    ...[
      '-o',
      'vg_name,lv_name,data_percent,metadata_percent,zero,seg_monitor,lv_health_status,lv_check_needed,lv_metadata_size',
    ],
    ...['--units', 'b', '--nosuffix'],
    ...['--select', 'segtype=thin-pool'],
  ],
  'volume-groups': [
    ...['vgs', ...LVM, '--noheadings', '--units', 'b', '--nosuffix', '--separator', ' '],
    ...['-o', 'vg_name,vg_size,vg_free,vg_extent_size'],
  ],
  'pools-active': virsh('pool-list', '--name'),
  'pools-all': virsh('pool-list', '--all', '--name', '--type', 'logical'),
  'pools-autostarted': virsh('pool-list', '--all', '--name', '--autostart'),
  'libvirt-over-dbus': [
    ...['busctl', '--system', '--timeout=5', 'get-property', 'org.libvirt', '/org/libvirt/QEMU'],
    ...['org.libvirt.Connect', 'LibVersion'],
  ],
  'packages-own': ['apt-cache', 'policy', 'libvirt-volume-provisioner'],
  'packages-below': [
    ...['apt-cache', 'policy', 'libvirt-daemon-system', 'libvirt-dbus', 'qemu-system-x86', 'lvm2'],
  ],
} as const satisfies Readonly<Record<string, readonly string[]>>;
export type CommandName = keyof typeof COMMANDS;

/** What `--fix` runs. */
export const CHANGES = {
  'enable-daemon': ['systemctl', 'enable', '--quiet', SERVICE],
  'enable-socket': ['systemctl', 'enable', '--quiet', SOCKET],
  'reload-libvirtd': ['systemctl', 'reload', 'libvirtd.service'],
  'reload-virtqemud': ['systemctl', 'reload', 'virtqemud.service'],
} as const satisfies Readonly<Record<string, readonly string[]>>;
export type ChangeName = keyof typeof CHANGES;

/**
 * Which run of libvirt's daemons this is. libvirt-dbus opens its connection to libvirtd again within the
 * next method call and tells nobody, and whatever happened between libvirtd's restart and that call was
 * signalled to no one. Each daemon writes its pid file anew when it starts, before it takes clients:
 *
 *   $ stat -c '%y' /run/libvirtd.pid; systemctl restart libvirtd; stat -c '%y' /run/libvirtd.pid
 */
import { stat } from 'node:fs/promises';

/** The monolithic daemon, and the modular ones that serve domains and pools. */
const PID_FILES = ['/run/libvirtd.pid', '/run/virtqemud.pid', '/run/virtstoraged.pid'];

/** A text that changes whenever one of the daemons has started, stopped or started again. */
export async function daemonGeneration(pidFiles: readonly string[] = PID_FILES): Promise<string> {
  return (await Promise.all(pidFiles.map(stampOf))).join(' ');
}

async function stampOf(path: string): Promise<string> {
  try {
    const { ino, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return `${ino}/${mtimeNs}/${ctimeNs}`;
  } catch {
    // Absent or unreadable is a state like another: a change from it or to it is what counts.
    return '-';
  }
}

/** Two libvirts that may call each other, and guests that move between them. */
import { expect } from 'vitest';
import type { Host, ShResult } from './host.ts';

export const START_LIMIT_MS = 300_000;
/** How a guest moves with its disks, between hosts that share none. */
export const COPIED = '--live --persistent --undefinesource --copy-storage-all';

export function migrate(
  name: string,
  flags: string,
  { from, to }: { readonly from: Host; readonly to: Host },
): Promise<ShResult> {
  return from.sh(`virsh migrate ${flags} ${name} qemu+tcp://${to.name}/system`, {
    reject: false,
    timeoutMs: START_LIMIT_MS,
  });
}

/** `unknown` where there is no such domain. */
export async function stateOf(host: Host, name: string): Promise<string> {
  const { stdout, exitCode } = await host.sh(`virsh domstate ${name}`, { reject: false });
  return exitCode === 0 ? stdout.trim() : 'unknown';
}

/** None of a volume that does not exist. */
export async function tagsOf(host: Host, volume: string): Promise<string[]> {
  const { stdout } = await host.sh(`lvs --noheadings -o lv_tags ${volume} 2>/dev/null`, { reject: false });
  return stdout.trim().split(',').toSorted();
}

const HOOK = '/etc/libvirt/hooks/qemu.d/50-libvirt-volume-provisioner';

/** Whether a host's hook would let a guest start there now. */
export async function mayStart(host: Host, xml: string): Promise<boolean> {
  const asked = await host.sh(`${HOOK} asked prepare begin -`, { input: xml, reject: false });
  expect(asked.stdout).toBe('');
  return asked.exitCode === 0;
}

import { readFile } from 'node:fs/promises';

/** The name of the machine's current boot; see proc_sys_kernel(5). Another one after every boot. */
export async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/** Asks the installed qemu hook as libvirt does, and says what came of it. */
import { expect } from 'vitest';
import type { Host } from './host.ts';

export const HOOK = '/etc/libvirt/hooks/qemu.d/50-libvirt-volume-provisioner';

export interface Asked {
  readonly allowed: boolean;
  readonly message: string;
  readonly tookMs: number;
}

let asked = 0;

/** Whatever the hook answers, it must never print to stdout. Several may be asked at once. */
export async function askHook(host: Host, xml: string, operation = 'prepare begin'): Promise<Asked> {
  asked += 1;
  const { stdout, stderr, exitCode } = await host.sh(
    `cat >/tmp/asked${asked}.xml
     begun=$(date +%s%N)
     env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin USER=root LC_ALL=C PWD=/ \
       ${HOOK} asked ${operation} - </tmp/asked${asked}.xml >/tmp/asked${asked}.out
     code=$?
     echo $((($(date +%s%N) - begun) / 1000000)) "$(wc -c </tmp/asked${asked}.out)"
     rm /tmp/asked${asked}.*
     exit $code`,
    { input: xml, reject: false },
  );
  const [tookMs = NaN, printedBytes] = stdout.split(' ').map(Number);
  expect(printedBytes, `bytes on stdout of ${operation}`).toBe(0);
  if (exitCode !== 0) expect(stderr).not.toBe('');
  return { allowed: exitCode === 0, message: stderr, tookMs };
}

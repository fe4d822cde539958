/** What the kernel counts of a process. */
import { readFileSync } from 'node:fs';

export interface Usage {
  /** Of all its threads, and of its children that have ended. */
  readonly cpuS: number;
  /** By write(2) and its like, also into sockets: of a store that only serves, what it has sent. */
  readonly writtenBytes: number;
}

/** The unit of /proc/PID/stat is 1/100 s on every Linux that Node runs on. */
const TICKS_PER_S = 100;

export function usageOf(pid: number | 'self'): Usage {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name, in brackets, may have blanks; utime, stime, cutime and cstime are fields 14 to 17.
  const ticks = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 15)
    .map(Number);
  const written = /wchar: (\d+)/.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1];
  return { cpuS: ticks.reduce((sum, each) => sum + each, 0) / TICKS_PER_S, writtenBytes: Number(written) };
}

export function usageSince(before: Usage, pid: number | 'self'): Usage {
  const now = usageOf(pid);
  return { cpuS: now.cpuS - before.cpuS, writtenBytes: now.writtenBytes - before.writtenBytes };
}

/** The largest resident memory this process ever had. */
export function peakBytes(): number {
  const peakKib = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return Number(peakKib) * 1024;
}

/** Where a case lies: in memory if it fits there, on a disk if not. */
import { readFileSync, statfsSync } from 'node:fs';

const GIB = 1024 ** 3;
/** Of statfs(2). */
const TMPFS_MAGIC = 0x01021994;
/** All of a tmpfs that may be in use, also by others: the rest is for programs and the page cache. */
const TMPFS_MAX_BYTES = 16 * GIB;
const MEMORY_LEFT_BYTES = 3 * GIB;
const DISK_LEFT_BYTES = 2 * GIB;

export interface Place {
  readonly folder: string;
  readonly isMemory: boolean;
}

/** The first of the folders that has room for so much now. */
export function findRoom(folders: readonly string[], needBytes: number): Place {
  for (const folder of folders) {
    const isMemory = statfsSync(folder).type === TMPFS_MAGIC;
    if (needBytes <= (isMemory ? memoryRoomBytes(folder) : diskRoomBytes(folder)))
      return { folder, isMemory };
  }
  const need = `${(needBytes / GIB).toFixed(1)} GiB`;
  throw new Error(`neither of ${folders.join(', ')} has room for ${need}: see --folder and --disk`);
}

function memoryRoomBytes(folder: string): number {
  const { blocks, bfree, bsize } = statfsSync(folder);
  const availableKib = Number(/MemAvailable:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
  return Math.min(
    TMPFS_MAX_BYTES - (blocks - bfree) * bsize,
    bfree * bsize,
    availableKib * 1024 - MEMORY_LEFT_BYTES,
  );
}

function diskRoomBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize - DISK_LEFT_BYTES;
}

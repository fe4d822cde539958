/** The file that freezes this host, looked at anew for each decision. */
import { lstatSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Frozen } from '../core/frozen.ts';
import { FROZEN_NAME, parseFrozen } from '../core/frozen.ts';
import type { Freeze } from '../provision/ports/host.ts';

export class FreezeFile implements Freeze {
  readonly path: string;

  constructor(configPath: string) {
    this.path = join(dirname(configPath), FROZEN_NAME);
  }

  /** Whatever cannot be read may have been put there to freeze it. */
  frozen(): Frozen | undefined {
    try {
      // The usual case costs 1 µs and no exception: this is asked for each piece of each fill, and for each plan. A
      // link that leads nowhere is there, as it is for the hook.
      if (!isThere(this.path)) return undefined;
      return parseFrozen(readFileSync(this.path, 'utf8'));
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      // Thawed since.
      if (code === 'ENOTDIR' || (code === 'ENOENT' && !isThere(this.path))) return undefined;
      return { reason: `${this.path} cannot be read: ${code}` };
    }
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

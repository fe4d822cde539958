/**
 * Which volume groups the helper may touch: the key `volume_groups` of the configuration, and nothing else. Of
 * those only in `shared_volume_groups` it tells which volumes are sealed. Thin volumes are made in the pools that
 * `thin_pools` names.
 */
import type { Stats } from 'node:fs';
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { parse } from 'yaml';
import { z } from 'zod';
import { ProvisionError } from '../core/errors.ts';
import { isLvName, isVgName } from '../core/volume/lvm-names.ts';

const CONFIG_BYTES_MAX = 1024 * 1024;
const GROUPS_MAX = 64;

/** The daemon's other keys are not the helper's business. */
const VgNames = z.array(z.string().refine(isVgName, 'is not a legal volume group name')).max(GROUPS_MAX);

const Config = z.object({
  volume_groups: VgNames.min(1),
  shared_volume_groups: VgNames.default([]),
  thin_pools: z
    .record(z.string(), z.string().refine(isLvName, 'is not a legal logical volume name'))
    .default({}),
});

/** The thin pool of a group, by the group's name. */
export type ThinPools = ReadonlyMap<string, string>;

export interface Groups {
  readonly own: readonly string[];
  /** Another host fills the volumes in these. */
  readonly verified: readonly string[];
  /** Own ones that other hosts see too. */
  readonly shared: readonly string[];
  /** Only of own groups that no other host sees: a thin pool belongs to one host. */
  readonly thinPools: ThinPools;
}

/** Reads the file again whenever it is another one than last time. */
export class ConfiguredGroups {
  readonly #path: string;
  #seen = '';
  #groups: Groups = { own: [], verified: [], shared: [], thinPools: new Map() };

  constructor(path: string) {
    this.#path = path;
  }

  async read(): Promise<Groups> {
    const file = await this.#open();
    try {
      const status = await file.stat();
      this.#refuseWritable(status);
      const seen = [status.dev, status.ino, status.size, status.mtimeMs, status.ctimeMs].join(' ');
      if (seen !== this.#seen) {
        this.#groups = this.#parse(await file.readFile('utf8'));
        this.#seen = seen;
      }
      return this.#groups;
    } finally {
      await file.close();
    }
  }

  async #open(): Promise<FileHandle> {
    try {
      return await open(this.#path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (cause) {
      throw this.#invalid(`cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
    }
  }

  /** Whoever can write this file decides which volume groups root works on. */
  #refuseWritable(status: Stats): void {
    if (!status.isFile()) throw this.#invalid('is not a regular file');
    if (status.uid !== 0) throw this.#invalid(`belongs to user ${status.uid}, and must belong to root`);
    if ((status.mode & 0o022) !== 0) throw this.#invalid('can be written by others than root');
    if (status.size > CONFIG_BYTES_MAX) throw this.#invalid(`is larger than ${CONFIG_BYTES_MAX} bytes`);
  }

  #parse(text: string): Groups {
    let content: unknown;
    try {
      content = parse(text);
    } catch (cause) {
      throw this.#invalid('is not YAML', cause);
    }
    const config = Config.safeParse(content);
    if (config.success) {
      const own = [...new Set(config.data.volume_groups)];
      const shared = [...new Set(config.data.shared_volume_groups)];
      return {
        own,
        verified: shared.filter((vg) => !own.includes(vg)),
        shared: shared.filter((vg) => own.includes(vg)),
        thinPools: new Map(
          Object.entries(config.data.thin_pools).filter(([vg]) => own.includes(vg) && !shared.includes(vg)),
        ),
      };
    }
    throw this.#invalid(
      `has no list of volume groups, or one of thin pools that is none: ${z.prettifyError(config.error).replaceAll('\n', ' ')}`,
      config.error,
    );
  }

  #invalid(what: string, cause?: unknown): ProvisionError {
    return new ProvisionError({
      code: 'CONFIG_INVALID',
      message: `${this.#path} ${what}.`,
      hint: 'It must belong to root, be writable by root only, and name the groups: "volume_groups: [vg0]".',
      cause,
    });
  }
}

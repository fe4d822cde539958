/** Every domain's XML, to know whether anybody names a volume that is to be deleted. */
import type { LogicalPool } from '../../core/request.ts';
import { namingOf } from '../../core/volume/volume-naming.ts';
import type { Domains } from '../ports/libvirt.ts';

/** A domain and all XML libvirt has of it. */
interface UserOfVolumes {
  readonly uuid: string;
  readonly xmls: readonly string[];
}

/** Reads all of them; fails if one cannot be read. */
export async function readUsers(domains: Domains): Promise<readonly UserOfVolumes[]> {
  const users: UserOfVolumes[] = [];
  for (const uuid of await domains.list()) {
    const xmls = await domains.everyXml(uuid);
    if (xmls !== undefined) users.push({ uuid, xmls });
  }
  return users;
}

/** Who names the volume, as the end of a sentence; undefined: nobody. Throws if XML cannot be understood. */
export function userOf(
  users: readonly UserOfVolumes[],
  volume: { readonly vg: string; readonly lv: string },
  pools: readonly LogicalPool[],
): string | undefined {
  for (const { uuid, xmls } of users) {
    for (const xml of xmls) {
      const naming = namingOf(xml, volume, pools);
      if (naming !== undefined) return `domain ${uuid} ${naming}`;
    }
  }
  return undefined;
}

/** Which thin pool of a group volumes may be made in: the one the configuration names, if it can be trusted. */
import { ProvisionError } from '../core/errors.ts';
import { brokenPool } from '../core/thin/pool-trouble.ts';
import type { ThinPools } from './groups.ts';
import type { VolumeRow } from './lvm.ts';

/** The configured pool; POOL_UNSUITABLE unless it is there, healthy, and zeroes what it maps. */
export function findThinPool(rows: readonly VolumeRow[], thinPools: ThinPools, vg: string): VolumeRow {
  const name = thinPools.get(vg);
  if (name === undefined) {
    throw unsuitable(
      `No thin pool of ${vg} is configured.`,
      'Name one under thin_pools in /etc/libvirt-volume-provisioner/config.yaml.',
    );
  }
  const row = rows.find((candidate) => candidate.vg === vg && candidate.lv === name);
  if (row === undefined) {
    throw unsuitable(
      `There is no thin pool ${vg}/${name}.`,
      `Make it with lvcreate --type thin-pool --size SIZE --name ${name} ${vg}, or correct thin_pools.`,
    );
  }
  if (row.pool === undefined) {
    throw unsuitable(
      `${vg}/${name} is of type ${row.segmentType}, and thin_pools says that it is a thin pool.`,
      `See lvs ${vg}.`,
    );
  }
  if (!row.pool.zeroes) {
    // A chunk that a guest has written in part would show in its other part what an earlier owner had there.
    throw unsuitable(
      `The thin pool ${vg}/${name} does not zero the chunks it maps: earlier content would show through.`,
      `Switch it on: lvchange --zero y ${vg}/${name}.`,
    );
  }
  const broken = brokenPool({ vg, lv: name, ...row.pool });
  if (broken === undefined) return row;
  throw new ProvisionError({
    code: broken.code,
    message: `The thin pool ${vg}/${name} ${broken.says}.`,
    hint: broken.remedy,
  });
}

function unsuitable(message: string, hint: string): ProvisionError {
  return new ProvisionError({ code: 'POOL_UNSUITABLE', message, hint });
}

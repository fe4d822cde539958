/** Where the volume of a job is to be: only in a libvirt pool on a volume group that this host is configured for. */
import { ProvisionError } from '../../core/errors.ts';
import type { JobRequest } from '../../core/protocol/job-protocol.ts';
import { quote } from '../../core/quote.ts';
import type { LogicalPool, PooledLocation } from '../../core/request.ts';
import { targetNameMistake } from '../../core/volume/lvm-names.ts';
import type { Pools } from '../ports/libvirt.ts';
import type { Volumes } from '../ports/volumes.ts';

interface PlaceNeeds {
  readonly pools: Pick<Pools, 'list'>;
  readonly volumes: Pick<Volumes, 'list'>;
}

/** POOL_UNSUITABLE, or DISK_UNSUITABLE if no volume can have that name. */
export async function placeOfJob(needs: PlaceNeeds, { pool, volume }: JobRequest): Promise<PooledLocation> {
  const [pools, { groups }] = await Promise.all([needs.pools.list(), needs.volumes.list()]);
  const ours = pools.filter(({ vg }) => groups.some((group) => group.vg === vg));
  const chosen = pool === undefined ? onlyPool(ours) : ours.find(({ name }) => name === pool);
  if (chosen === undefined) {
    throw unsuitable(
      `${quote(pool ?? '')} is no logical storage pool on a volume group that this host is configured for.`,
      ours,
    );
  }
  const mistake = targetNameMistake(chosen.vg, volume);
  if (mistake === undefined) return { pool: chosen.name, vg: chosen.vg, lv: volume };
  throw new ProvisionError({
    code: 'DISK_UNSUITABLE',
    message: `No volume of a job can be called ${quote(volume)}: that name ${mistake}.`,
    hint: 'Give it another name.',
  });
}

/** Two pools may be on the same group: then the active one is meant. */
function onlyPool(pools: readonly LogicalPool[]): LogicalPool {
  const [first, ...others] = [...pools].sort((a, b) => Number(b.active) - Number(a.active));
  if (first !== undefined && others.every(({ vg }) => vg === first.vg)) return first;
  throw unsuitable(
    first === undefined
      ? 'No logical storage pool is on a volume group that this host is configured for.'
      : 'There are several storage pools, and the job does not say which one is meant.',
    pools,
  );
}

function unsuitable(message: string, pools: readonly LogicalPool[]): ProvisionError {
  const names = pools.map(({ name }) => name).join(', ');
  return new ProvisionError({
    code: 'POOL_UNSUITABLE',
    message,
    hint:
      names === ''
        ? 'See virsh pool-list --all and volume_groups in the configuration.'
        : `Pools here: ${names}.`,
  });
}

/** What the host that has a domain tells the one it is to be migrated to with its storage. */
import { ProvisionError } from '../../core/errors.ts';
import type { Handover } from '../../core/handover.ts';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import type { Plan } from '../../core/plan.ts';
import { isStartable } from '../../core/plan.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import { readMark } from '../../core/volume/volume.ts';
import type { Observation } from '../observe.ts';
import { problemsOf } from '../observe.ts';

/** The seals and sizes of a domain's volumes, all of which must be ready; VOLUME_STATE if one is not. */
export function handoverOf(planned: Plan, { volumes }: Pick<Observation, 'volumes'>): Handover {
  const { uuid, name } = planned.domain;
  if (!isStartable(planned) || planned.disks.length === 0) {
    const [problem] = problemsOf(planned);
    throw new ProvisionError({
      code: problem?.code ?? 'VOLUME_STATE',
      message: `Domain ${name} has nothing to hand over: ${problem?.message ?? 'its volumes are not all ready.'}`,
      hint: `See lvp status ${name}.`,
    });
  }
  return {
    ...{ uuid, name },
    volumes: planned.disks.map(({ request, location }) => {
      const found = volumes.find((volume) => volumeKey(volume) === volumeKey(location));
      const seal = found === undefined ? undefined : readMark(found.tags);
      if (found === undefined || seal?.state !== 'ready') throw new Error(`${location.lv} has lost its seal`);
      const { pool } = location;
      if (pool === undefined) throw withoutPool(name, request.target, location.vg);
      return {
        ...{ target: request.target, pool, sizeBytes: found.sizeBytes, seal },
        ...(request.key && { key: formatKeyReference(request.key) }),
      };
    }),
  };
}

function withoutPool(name: string, target: string, vg: string): ProvisionError {
  return new ProvisionError({
    code: 'POOL_UNSUITABLE',
    message: `Disk ${target} of domain ${name} is in the volume group ${vg}, on which no libvirt pool is: its place on another host is known by the name of a pool.`,
    hint: `Define one on both hosts (virsh pool-define-as NAME logical --source-name ${vg}), and start it.`,
  });
}

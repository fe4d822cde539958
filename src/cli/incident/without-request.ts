/** What an incident report says of domains and volumes that nobody has asked this program for. */
import { z } from 'zod';
import { ownerOfJob } from '../../core/owner.ts';
import type { DomainStatus } from '../../core/protocol/control-protocol.ts';
import type { Job } from '../../core/protocol/job-protocol.ts';
import { readMark } from '../../core/volume/volume.ts';

/** What `lvs --reportformat json` prints, as far as it is used. */
const Volumes = z.object({
  report: z.array(
    z.object({
      lv: z.array(
        z.object({ vg_name: z.string(), lv_name: z.string(), lv_uuid: z.string(), lv_tags: z.string() }),
      ),
    }),
  ),
});

export interface WithoutRequest {
  /** Without an annotation. */
  readonly domains: readonly { readonly uuid: string; readonly name: string }[];
  /** Whose tags name neither a domain that is annotated nor a job that is known: `VG/LV`. */
  readonly volumes: readonly { readonly volume: string; readonly uuid: string; readonly tags: string }[];
}

/** `listed` is what `virsh list --all --uuid --name` prints. Throws if LVM's report is not one. */
export function withoutRequest(
  listed: string,
  lvs: string,
  annotated: readonly DomainStatus[],
  jobs: readonly Job[],
): WithoutRequest {
  const asked = new Set([...annotated.map(({ uuid }) => uuid), ...jobs.map(({ id }) => ownerOfJob(id))]);
  const domains = [...listed.matchAll(/^\s*([0-9a-f-]{36})\s+(\S.*?)\s*$/gm)]
    .map(([, uuid = '', name = '']) => ({ uuid, name }))
    .filter(({ uuid }) => !asked.has(uuid));
  const rows = Volumes.parse(JSON.parse(lvs)).report.flatMap(({ lv }) => lv);
  const volumes = rows
    .filter(({ lv_tags: tags }) => {
      const mark = readMark(tags.split(',').filter(Boolean));
      return !('domainUuid' in mark) || !asked.has(mark.domainUuid);
    })
    .map(({ vg_name: vg, lv_name: lv, lv_uuid: uuid, lv_tags: tags }) => ({
      ...{ volume: `${vg}/${lv}`, uuid, tags },
    }));
  return { domains, volumes };
}

/** What a volume is sealed with when its fill is finished. */
import { isJob } from '../../core/owner.ts';
import type { Seal } from '../../core/volume/volume.ts';
import { formatTag, imageTag } from '../../core/volume/volume.ts';
import type { FillRecord } from '../ports/ledger.ts';

/** The digest is that of the image object as it was read. */
export function sealOfFill({ fillId, domainUuid, location, request }: FillRecord, sha256: string): Seal {
  return {
    state: 'ready',
    ...{ fillId, target: location.lv, domainUuid, sha256 },
    image: imageTag(request.image),
    generation: request.generation,
    ...(request.key === undefined ? {} : { encryption: 'luks1' }),
    ...(isJob(domainUuid) ? { format: formatTag(request) } : {}),
  };
}

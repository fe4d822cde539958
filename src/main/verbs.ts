/** What people call, over either socket. */
import type { Config } from '../adapters/config-file.ts';
import { GarbageCollector } from '../provision/ends/collect-garbage.ts';
import { DomainVerbs } from '../provision/control-verbs.ts';
import type { ControlNeeds } from '../provision/control-verbs.ts';
import type { FindNeeds } from '../provision/ends/find-garbage.ts';
import { CachedImageVerbs } from '../provision/images/image-verbs.ts';
import type { ImageNeeds } from '../provision/images/image-verbs.ts';
import { KeyChanges } from '../provision/keys/key-changes.ts';
import type { KeyChangeNeeds } from '../provision/keys/key-changes.ts';
import { VolumeJobs } from '../provision/jobs/volume-jobs.ts';

type Needs = Omit<ControlNeeds, 'virtualSizeMaxBytes' | 'warm'> &
  Omit<FindNeeds, 'cache' | 'damagedLedgers'> &
  KeyChangeNeeds;

interface Parts {
  readonly images: ImageNeeds;
  readonly warm: ControlNeeds['warm'];
  readonly cache: FindNeeds['cache'];
  readonly damagedLedgers: FindNeeds['damagedLedgers'];
}

export function openVerbs(config: Config, needs: Needs, { images, warm, cache, damagedLedgers }: Parts) {
  return {
    verbs: new DomainVerbs({ ...needs, ...config.limits, warm }),
    images: new CachedImageVerbs(images),
    garbage: new GarbageCollector({ ...needs, cache, damagedLedgers }),
    jobs: new VolumeJobs(needs),
    keys: new KeyChanges(needs),
  };
}

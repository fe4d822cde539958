/** The memory of a guest that libvirt keeps (`virsh managedsave`), and what it must meet when it goes on. */
import type { ModelVolume } from '../helper/memory-lvm.ts';
import type { DomainSpec } from './domains.ts';
import { Violation } from './violation.ts';

interface SavedVolume {
  readonly uuid: string;
  readonly lv: string;
  readonly tags: string;
  /** What opened it, if it is encrypted. */
  readonly slots: string;
}

export interface SavedMemory {
  /** As the guest ran, whatever its definition says by now: this is what is restored. */
  readonly spec: DomainSpec;
  readonly volumes: readonly SavedVolume[];
}

export function saveMemory(spec: DomainSpec, volumes: readonly ModelVolume[]): SavedMemory {
  return { spec, volumes: volumes.map(noteOf) };
}

/**
 * Its volumes are there under their names, with the seals and the keys that they had. What somebody removes by hand, or
 * has made unreadable, is no work of ours: `isGivenUp`, by the UUID of the volume.
 */
export function requireUntouched(
  { spec, volumes }: SavedMemory,
  present: readonly ModelVolume[],
  isGivenUp: (uuid: string) => boolean,
): void {
  for (const saved of volumes) {
    if (isGivenUp(saved.uuid)) continue;
    const found = present.find(({ uuid }) => uuid === saved.uuid);
    const now = found && noteOf(found);
    const parts = ['lv', 'tags', 'slots'] as const;
    const changed = now === undefined ? 'not there' : parts.find((part) => now[part] !== saved[part]);
    if (changed === undefined) continue;
    throw new Violation(
      'saved-untouched',
      `${spec.name} has its memory saved, and of ${saved.lv} this has changed: ${changed}`,
    );
  }
}

function noteOf({ uuid, lv, tags, header }: ModelVolume): SavedVolume {
  const slots = (header?.slots ?? []).map((slot) => slot ?? '').join();
  return { uuid, lv, tags: [...tags].sort().join(), slots };
}

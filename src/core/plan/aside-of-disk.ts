/** What a disk's plan has to do with a volume that was put aside to be made again. */
import type { Problem } from '../errors.ts';
import type { VolumeLocation, VolumeRequest } from '../request.ts';
import type { LogicalVolume } from '../volume/volume.ts';
import type { PlannedFill } from './planned-fill.ts';
import { sameRequest, volumeKey } from './planned-fill.ts';
import { asidesOf, isKeptAside } from './retired.ts';

interface DiskWithAside {
  readonly volumes: readonly LogicalVolume[];
  readonly domainUuid: string;
  readonly request: VolumeRequest;
  readonly location: VolumeLocation;
  /** The ledger's row of this disk. */
  readonly record: PlannedFill | undefined;
  /** No volume has the disk's name. */
  readonly isNameFree: boolean;
}

type SaidOfAside =
  /** The fill whose volume gets its name back. */
  | { readonly restore: string }
  | { readonly refused: string; readonly hint: string }
  | { readonly forOther: string };

/**
 * Only the fill that it was put aside for goes on (undefined); with any other answer it gets its name back, or,
 * while somebody else has that, a person has to look.
 */
export function sayOfAside(disk: DiskWithAside): SaidOfAside | undefined {
  const { location, record, isNameFree } = disk;
  const asides = asidesOf(disk.volumes, location);
  const kept = record === undefined ? undefined : asides.find(({ seal }) => isKeptAside(record, seal));
  const aside = kept ?? asides[0];
  if (aside === undefined) return undefined;
  if (aside.seal.domainUuid !== disk.domainUuid) {
    return { forOther: `published for domain ${aside.seal.domainUuid} and put aside to be made again` };
  }
  // One that a guest has opened in the moment before it was put aside is that guest's.
  if (kept?.volume.open === false && isAskedBy(record, disk)) return undefined;
  if (isNameFree && asides.length === 1) return { restore: aside.seal.fillId };
  const names = asides.map(({ volume }) => volumeKey(volume)).join(', ');
  const why = isNameFree ? 'there are several' : 'another volume has it';
  return {
    refused: `Volume ${volumeKey(location)} was put aside as ${names}, and cannot have its name back: ${why}.`,
    hint: 'Delete the one that is not needed (virsh vol-delete, lvremove); what was put aside is what the domain used last.',
  };
}

/** The annotation is still the one that the fill was begun for. */
function isAskedBy(record: PlannedFill | undefined, { request, location }: DiskWithAside): boolean {
  return (
    record !== undefined &&
    sameRequest(record.request, request) &&
    volumeKey(record.location) === volumeKey(location)
  );
}

/** Why a fill failed, and what has become of the volume that it is to replace. */
export function withAside({ code, message, hint }: Problem, domainName: string): Problem {
  const aside = `What the volume held is kept aside meanwhile; \`lvp cancel ${domainName}\` gives it back.`;
  return { code, message, hint: hint === undefined ? aside : `${hint} ${aside}` };
}

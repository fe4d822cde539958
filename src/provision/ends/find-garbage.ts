/** Compares tags, ledger, libvirt's domains and files, and finds what does not belong together. Changes nothing. */
import type { Finding } from '../../core/protocol/garbage-protocol.ts';
import { readDomainXml } from '../../core/xml/domain-xml.ts';
import { goldenVolumes, uselessGoldens } from '../../core/thin/golden.ts';
import { locateVolumes } from '../../core/volume/locate.ts';
import { planFinish, planReclaim } from '../../core/plan/left-behind.ts';
import { isJob, jobIdOf } from '../../core/owner.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import type { LogicalPool } from '../../core/request.ts';
import type { ThinPlaces } from '../../core/thin/thin-place.ts';
import type { RetiredPlan } from '../../core/plan/retired.ts';
import { retiredVolumes } from '../../core/plan/retired.ts';
import type { GoldenSeal, LogicalVolume, Seal, VolumeGroup } from '../../core/volume/volume.ts';
import { fillIdOf, goldenName, readMark, RETIRED_PREFIX } from '../../core/volume/volume.ts';
import { doomedVolumes, UNPROVEN } from './end-of-volume.ts';
import { observe } from '../observe.ts';
import type { ImageCache } from '../ports/image-cache.ts';
import type { FillRecord, JobRecord, KnownDomain } from '../ports/ledger.ts';
import type { Domains } from '../ports/libvirt.ts';
import type { ReclaimNeeds } from './reclaim.ts';
import { accountsOf } from './reclaim.ts';
import type { Reconciler } from '../reconcile.ts';
import { planAsides } from './settle-retired.ts';

export interface FindNeeds extends ReclaimNeeds {
  readonly domains: Domains;
  readonly reconciler: Reconciler;
  readonly cache: Pick<ImageCache, 'strays'>;
  /** Files that damaged ledgers were set aside as. */
  readonly damagedLedgers: () => Promise<readonly string[]>;
}

/** A finding, and the row of the ledger that it is about. */
export interface Found extends Finding {
  readonly record?: FillRecord | undefined;
}

/** Everything that was read. */
interface Reading {
  readonly volumes: readonly LogicalVolume[];
  readonly pools: readonly LogicalPool[];
  readonly groups: readonly VolumeGroup[];
  readonly thin: ThinPlaces;
  readonly fills: readonly FillRecord[];
  readonly retired: readonly RetiredPlan[];
  /** UUIDs of the domains that libvirt knows. */
  readonly there: ReadonlySet<string>;
}

export async function findGarbage(needs: FindNeeds): Promise<readonly Found[]> {
  const there = new Set(await needs.domains.list());
  const { volumes, pools, groups, thin } = await observe(needs, []);
  const fills = needs.ledger.fills();
  const accounts = accountsOf(needs, needs.reconciler.arrivals, volumes);
  const retired = planAsides(needs, volumes);
  const reading = { volumes, pools, groups, thin, fills, retired, there };
  const litter = planReclaim(accounts);
  const unfinished = planFinish(accounts).map(({ volume }) => volume);
  const found: Found[] = [
    ...litter.map((volume) => abandoned(volume)),
    ...unfinished.map((volume) => halfPublished(volume)),
  ];
  for (const volume of volumes) {
    if (litter.includes(volume) || unfinished.includes(volume)) continue;
    found.push(...(await judgeVolume(needs, reading, volume)));
  }
  found.push(...fills.flatMap((record) => rowWithoutVolume(needs, reading, record)));
  for (const name of await needs.cache.strays('list')) {
    found.push({
      ...todo('cache-leftover', name, 'remove'),
      why: 'a download that was cut off, or part of one',
    });
  }
  for (const name of await needs.damagedLedgers()) {
    found.push({
      ...todo('damaged-ledger', name, 'none'),
      why: 'it could not be read; what the seals prove was brought back from them',
      hint: 'Remove the file when nobody wants to look into it any more.',
    });
  }
  return found;
}

function todo(kind: Finding['kind'], name: string, action: Finding['action']) {
  return { kind, name, action, done: false };
}

function abandoned(volume: LogicalVolume): Found {
  return {
    ...todo('abandoned', volumeKey(volume), 'remove'),
    why: 'begun for a fill that nobody goes on with',
  };
}

function halfPublished(volume: LogicalVolume): Found {
  return {
    ...todo('half-published', volumeKey(volume), 'finish'),
    why: 'it is sealed and lacks its final name',
  };
}

async function judgeVolume(needs: FindNeeds, reading: Reading, volume: LogicalVolume): Promise<Found[]> {
  const name = volumeKey(volume);
  if (volume.lv.startsWith(RETIRED_PREFIX)) return judgeRetired(reading, volume);
  const mark = readMark(volume.tags);
  const isPrivate = fillIdOf(volume.lv) !== undefined;
  if (mark.state === 'unclear' || (mark.state === 'unmarked' && isPrivate)) {
    const why = mark.state === 'unclear' ? mark.why : 'it has a name of ours and none of our tags';
    return [{ ...todo('unclear', name, 'none'), why, hint: `Look at it: lvs -o +lv_tags ${name}` }];
  }
  if (mark.state === 'golden') return judgeGolden(needs, volume, mark);
  if (mark.state !== 'ready' || needs.fills.running.has(mark.fillId)) return [];
  if (isPrivate) {
    const isTaken = reading.volumes.some(({ vg, lv }) => vg === volume.vg && lv === mark.target);
    // Its fill goes on by itself.
    if (!isTaken) return [];
    const why = `its final name ${mark.target} is taken by another volume`;
    return [
      {
        ...todo('half-published', name, 'none'),
        ...(isJob(mark.domainUuid) ? {} : { domain: mark.domainUuid }),
        why,
        hint: deleteHint(reading, volume),
      },
    ];
  }
  return reading.there.has(mark.domainUuid)
    ? volumeWithoutRow(needs, reading, volume, mark)
    : orphan(needs, reading, volume, mark);
}

/** The next look finishes or removes it. */
function judgeGolden({ goldens }: FindNeeds, volume: LogicalVolume, { fillId }: GoldenSeal): Found[] {
  if (goldens.filling.has(fillId)) return [];
  const name = volumeKey(volume);
  if (volume.lv === goldenName(fillId)) {
    const [useless] = uselessGoldens(goldenVolumes([volume]));
    return useless === undefined
      ? []
      : [{ ...todo('unclear', name, 'none'), why: `it is a golden volume, and ${useless.why}` }];
  }
  if (fillIdOf(volume.lv) === fillId) return [halfPublished(volume)];
  const hint = `Look at it: lvs -o +lv_tags ${name}`;
  return [
    { ...todo('unclear', name, 'none'), why: 'it has the seal of a golden volume and another name', hint },
  ];
}

/** One that stands aside for a fill that goes on, or is tried again, is where it should be. */
function judgeRetired(reading: Reading, volume: LogicalVolume): Found[] {
  const name = volumeKey(volume);
  const planned = reading.retired.find((one) => one.volume === volume);
  if (planned?.action === 'remove') {
    return [{ ...todo('retired', name, 'remove'), why: 'what replaces it is published' }];
  }
  if (planned?.action === 'restore') {
    return [{ ...todo('retired', name, 'restore'), why: 'making its content again is over' }];
  }
  if (planned === undefined && retiredVolumes([volume]).length > 0) return [];
  const why = 'it holds what was there before its content was made again';
  return [{ ...todo('retired', name, 'none'), why, hint: deleteHint(reading, volume) }];
}

async function volumeWithoutRow(
  { domains }: FindNeeds,
  { fills, pools, thin }: Reading,
  volume: LogicalVolume,
  { domainUuid, fillId }: Seal,
): Promise<Found[]> {
  if (fills.some((fill) => fill.fillId === fillId)) return [];
  const libvirts = await domains.read(domainUuid);
  if (libvirts === undefined) return [];
  // Mistakes of the annotation are told by lvp status.
  const { located } = locateVolumes(readDomainXml(libvirts.xml).domain, pools, thin);
  if (!located.some(({ location }) => volumeKey(location) === volumeKey(volume))) return [];
  const why = `the ledger does not know what the seal says, that it is published for ${libvirts.name}`;
  return [{ ...todo('volume-without-row', volumeKey(volume), 'rebuild'), domain: domainUuid, why }];
}

function orphan({ ledger }: FindNeeds, reading: Reading, volume: LogicalVolume, seal: Seal): Found[] {
  // Its domain may be on another host, and run on it.
  if (reading.groups.find(({ vg }) => vg === volume.vg)?.shared !== false) return [];
  const jobId = jobIdOf(seal.domainUuid);
  if (jobId !== undefined) return unclaimed(reading, volume, jobId, ledger.jobOf(jobId));
  const known = ledger.domainOf(seal.domainUuid);
  // Its first start was refused, and is expected to be tried again.
  if (known?.origin === 'gate') return [];
  const common = { domain: seal.domainUuid };
  const doomed = doomedVolumes(known, reading.fills).find(({ record }) => record.fillId === seal.fillId);
  if (doomed === undefined) {
    const why = 'libvirt does not know its domain, and nothing says that it is to be deleted';
    return [
      { ...todo('orphan', volumeKey(volume), 'none'), ...common, why, hint: deleteHint(reading, volume) },
    ];
  }
  const { record } = doomed;
  if (known?.goneAtMs !== undefined) {
    const why = `the domain ${nameOf(known)} is gone, and it is deleted as soon as nothing stands in the way`;
    return [{ ...todo('ending', volumeKey(volume), 'none'), ...common, why, record }];
  }
  const why = `the domain ${nameOf(known)} is gone, and its annotation may want it deleted, but ${UNPROVEN}`;
  const hint = 'Delete it with: lvp gc --delete-orphans';
  return [{ ...todo('orphan', volumeKey(volume), 'delete'), ...common, why, hint, record }];
}

/** What a job has filled waits for its domain for as long as the job is remembered. */
function unclaimed(
  reading: Reading,
  volume: LogicalVolume,
  jobId: string,
  job: JobRecord | undefined,
): Found[] {
  if (job !== undefined && (job.end === undefined || job.end.state === 'completed')) return [];
  const end = job?.end === undefined ? 'which is not remembered' : `which was given up (${job.end.state})`;
  const why = `it was filled by job ${jobId}, ${end}, and no domain has claimed it`;
  return [{ ...todo('orphan', volumeKey(volume), 'none'), why, hint: deleteHint(reading, volume) }];
}

function nameOf(known: KnownDomain | undefined): string {
  return known?.domain.name ?? 'it was made for';
}

function rowWithoutVolume(needs: FindNeeds, { volumes, there }: Reading, record: FillRecord): Found[] {
  const { location, domainUuid, domainName, request, fillId } = record;
  if (record.state !== 'ready' || needs.fills.running.has(fillId) || isJob(domainUuid)) return [];
  const volume = volumes.find((one) => volumeKey(one) === volumeKey(location));
  const isThere = there.has(domainUuid);
  // Another one under its name: of a domain that is there, plans speak of it.
  if (volume !== undefined && (isThere || isOfFill(volume, fillId))) return [];
  const name = `${domainName} ${request.target}`;
  const common = { domain: domainUuid, record };
  if (!isThere) {
    const why = `${volumeKey(location)} is gone, and so is the domain`;
    return [{ ...todo('row-without-volume', name, 'remove'), ...common, why }];
  }
  const why = `${volumeKey(location)} was published and is gone`;
  const hint = `If it is to be made again: lvp retry ${domainName}`;
  return [{ ...todo('row-without-volume', name, 'none'), ...common, why, hint }];
}

function isOfFill({ tags }: LogicalVolume, fillId: string): boolean {
  const mark = readMark(tags);
  return mark.state === 'ready' && mark.fillId === fillId;
}

function deleteHint({ pools }: Reading, { vg, lv, thinPool }: LogicalVolume): string {
  if (thinPool !== undefined) return `If nobody needs it: lvremove ${vg}/${lv}`;
  const pool = pools.find((one) => one.vg === vg)?.name ?? 'POOL';
  return `If nobody needs it: virsh vol-delete --pool ${pool} ${lv}`;
}

/** The words that may be completed to: those of the program, and those that the daemon knows. */
import type { DomainDisks, DomainStatus } from '../../core/protocol/control-protocol.ts';
import type { CachedImages, StoredImages } from '../../core/protocol/image-protocol.ts';
import type { Jobs } from '../../core/protocol/job-protocol.ts';
import { approximateSize } from '../../core/size.ts';
import { isPlainName } from '../terminal/plain-name.ts';
import type { Candidate, Wanted } from './wanted.ts';

/** What the daemon is asked; each may fail, which only means that there is less to choose from. */
export interface Known {
  readonly domains: () => Promise<readonly DomainStatus[]>;
  /** Of all domains, for those who annotate one. */
  readonly disks: () => Promise<DomainDisks>;
  readonly images: () => Promise<CachedImages>;
  readonly stored: () => Promise<StoredImages>;
  readonly jobs: () => Promise<Jobs>;
}

/** Only words that go on from what is typed; each once. */
export async function candidatesFor({ place, typed }: Wanted, known: Known): Promise<readonly Candidate[]> {
  const all = await allFor(place, known);
  const words = new Set<string>();
  return all.filter(({ word }) => {
    if (!word.startsWith(typed) || words.has(word)) return false;
    if (place.kind !== 'words' && !isPlainName(word)) return false;
    words.add(word);
    return true;
  });
}

async function allFor(place: Wanted['place'], known: Known): Promise<readonly Candidate[]> {
  switch (place.kind) {
    case 'words':
      return place.candidates;
    case 'vm':
      if (place.isAny)
        return (await disksOf(known)).map(({ name, disks }) => ({ word: name, about: aboutDisks(disks) }));
      return (await domainsOf(known)).map(({ name, volumes }) => ({ word: name, about: statesOf(volumes) }));
    case 'disk':
      return place.isAny ? anyDisksOf(known, place.vm) : annotatedDisksOf(known, place.vm);
    case 'image':
      return imagesOf(known);
    case 'job': {
      const { jobs } = await known.jobs().catch(() => ({ jobs: [] }));
      return jobs.map(({ id, location, state }) => ({ word: id, about: `${location}, ${state}` }));
    }
    case 'file':
    case 'unknown':
      return [];
  }
}

async function annotatedDisksOf(known: Known, vm: string): Promise<readonly Candidate[]> {
  const domains = await domainsOf(known);
  const domain = domains.find(({ name, uuid }) => name === vm || uuid === vm);
  return (domain?.volumes ?? []).map(({ target, state, image }) => ({
    word: target,
    about: `${state}, ${image}`,
  }));
}

/** That an annotation may name: what cannot be filled is no candidate. */
async function anyDisksOf(known: Known, vm: string): Promise<readonly Candidate[]> {
  const domain = (await disksOf(known)).find(({ name, uuid }) => name === vm || uuid === vm);
  return (domain?.disks ?? []).flatMap(({ target, pool, volume, image }) =>
    volume === undefined
      ? []
      : { word: target, about: `${pool ?? ''}/${volume}${image === undefined ? '' : `, ${image}`}` },
  );
}

async function imagesOf(known: Known): Promise<readonly Candidate[]> {
  const [cached, stored, domains] = await Promise.all([
    known.images().catch(() => ({ images: [] })),
    known.stored().catch(() => ({ images: [] })),
    domainsOf(known),
  ]);
  return [
    ...cached.images.map(({ image, sizeBytes }) => ({
      word: image,
      about: `${approximateSize(sizeBytes)}, in the cache`,
    })),
    ...stored.images.map(({ image, sizeBytes }) => ({ word: image, about: approximateSize(sizeBytes) })),
    ...domains.flatMap(({ name, volumes }) =>
      volumes.map(({ image }) => ({ word: image, about: `on a disk of ${name}` })),
    ),
  ];
}

async function disksOf(known: Known): Promise<DomainDisks['domains']> {
  return (await known.disks().catch(() => ({ domains: [] }))).domains;
}

function aboutDisks(disks: DomainDisks['domains'][number]['disks']): string {
  return disks.map(({ target }) => target).join(', ');
}

function domainsOf(known: Known): Promise<readonly DomainStatus[]> {
  return known.domains().catch(() => []);
}

function statesOf(volumes: DomainStatus['volumes']): string {
  return volumes.length === 0 ? 'refused' : [...new Set(volumes.map(({ state }) => state))].join(', ');
}

/** The disks of domains, annotated or not, for somebody who is to choose one. */
import { plainProblem, toProblem } from '../../core/errors.ts';
import type { DomainDisks } from '../../core/protocol/control-protocol.ts';
import type { Domain, LogicalPool } from '../../core/request.ts';
import { imageName } from '../../core/request.ts';
import { locateVolumes } from '../../core/volume/locate.ts';
import { readDomainXml } from '../../core/xml/domain-xml.ts';
import type { Domains, Pools } from '../ports/libvirt.ts';

/** Each is a question to libvirt. */
export const DISKS_OF_MAX = 500;
const AT_ONCE = 8;

/** No key has that name to anybody: it is not looked for. */
const ANY_KEY = { provider: 'file', id: 'any' } as const;

type OneDomain = DomainDisks['domains'][number];

interface FindNeeds {
  readonly domains: Pick<Domains, 'list' | 'xml'>;
  readonly pools: Pick<Pools, 'list'>;
}

/** By name; a domain that goes meanwhile is left out. */
export async function findDisks({ domains, pools }: FindNeeds): Promise<DomainDisks> {
  const [uuids, known] = await Promise.all([domains.list(), pools.list()]);
  const found: OneDomain[] = [];
  const asked = uuids.slice(0, DISKS_OF_MAX);
  for (let at = 0; at < asked.length; at += AT_ONCE) {
    const xmls = await Promise.all(asked.slice(at, at + AT_ONCE).map((uuid) => domains.xml(uuid)));
    for (const xml of xmls) found.push(...(xml === undefined ? [] : readable(xml, known)));
  }
  found.sort((a, b) => a.name.localeCompare(b.name));
  return { domains: found, more: uuids.length > DISKS_OF_MAX };
}

/** What cannot be read cannot be annotated either; lvp list says so of it. */
function readable(xml: string, pools: readonly LogicalPool[]): readonly OneDomain[] {
  try {
    return [disksOf(readDomainXml(xml).domain, pools)];
  } catch (error) {
    if (toProblem(error).code === 'INTERNAL') throw error;
    return [];
  }
}

/** Where the disks of one domain are, or why they could not be filled. */
export function disksOf(domain: Domain, pools: readonly LogicalPool[]): OneDomain {
  const { uuid, name, disks, annotation } = domain;
  // As if all of them were annotated: what is asked for is no matter of where it is.
  const image = { bucket: 'any', key: 'any' };
  const volumes = disks.map(({ target, encryption }) => ({
    ...{ target, image, format: 'raw' as const, generation: 1 },
    ...(encryption === undefined ? {} : { key: ANY_KEY }),
  }));
  const { located, problems } = locateVolumes({ ...domain, annotation: { start: 'manual', volumes } }, pools);
  return {
    ...{ uuid, name },
    disks: disks.map(({ target, encryption }) => {
      const place = located.find(({ request }) => request.target === target)?.location;
      const wanted = annotation?.volumes.find((volume) => volume.target === target);
      const problem = problems.find((one) => one.target === target);
      return {
        target,
        ...(place === undefined ? {} : { pool: place.pool, volume: place.lv }),
        ...(wanted === undefined ? {} : { image: imageName(wanted.image) }),
        encrypted: encryption !== undefined,
        ...(problem === undefined ? {} : { problem: plainProblem(problem) }),
      };
    }),
  };
}

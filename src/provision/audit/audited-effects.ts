/** What is done to volumes, written down: ports that leave an event for each effect, whoever caused it. */
import { GOLDEN_OWNER, isGolden, whoOfOwner } from '../../core/owner.ts';
import type { GoldenSeal, Seal } from '../../core/volume/volume.ts';
import { fillIdOf, goldenName, privateName } from '../../core/volume/volume.ts';
import type { AuditTrail } from '../ports/audit.ts';
import type { Ledger } from '../ports/ledger.ts';
import type { Pools } from '../ports/libvirt.ts';
import type { LuksVolumes, PrivateVolume, Volumes } from '../ports/volumes.ts';
import type { FillWatch } from '../ports/watches.ts';
import type { About } from './recorded.ts';
import { briefly, decisionOf, newCorrelationId, recorded } from './recorded.ts';

/** An event for each verb of the helper that changes something. */
export function auditedVolumes(volumes: Volumes, trail: AuditTrail): Volumes {
  const ofSealed = (what: string, vg: string, seal: Seal | GoldenSeal): About =>
    seal.state === 'golden'
      ? ofFill(what, {
          ...{ vg, fillId: seal.fillId, target: goldenName(seal.fillId), domainUuid: GOLDEN_OWNER },
        })
      : ofFill(what, { ...seal, vg });
  return {
    list: () => volumes.list(),
    examine: (vg, lv) => volumes.examine(vg, lv),
    create: (volume, sizeBytes, thinPool) =>
      recorded(trail, ofFill('create', volume), () => volumes.create(volume, sizeBytes, thinPool)),
    clone: (volume, golden, sizeBytes) =>
      recorded(trail, ofFill('clone', volume), () => volumes.clone(volume, golden, sizeBytes)),
    adopt: (volume) => recorded(trail, ofFill('adopt', volume), () => volumes.adopt(volume)),
    publish: (volume, seal, key) =>
      recorded(trail, ofFill('publish', volume), () => volumes.publish(volume, seal, key)),
    claim: (vg, seal, domainUuid) =>
      recorded(trail, ofFill('claim', { ...seal, vg, domainUuid }), () =>
        volumes.claim(vg, seal, domainUuid),
      ),
    retire: (vg, seal) => recorded(trail, ofFill('retire', { ...seal, vg }), () => volumes.retire(vg, seal)),
    restore: (vg, seal) =>
      recorded(trail, ofFill('restore', { ...seal, vg }), () => volumes.restore(vg, seal)),
    arrive: (vg, seal) => recorded(trail, ofFill('arrive', { ...seal, vg }), () => volumes.arrive(vg, seal)),
    recall: (vg, fillId) =>
      recorded(trail, ofPrivate('recall', { vg, fillId }), () => volumes.recall(vg, fillId)),
    discard: (volume) => recorded(trail, ofPrivate('discard', volume), () => volumes.discard(volume)),
    drop: (vg, seal) => recorded(trail, ofSealed('drop', vg, seal), () => volumes.drop(vg, seal)),
  };
}

/**
 * The same of encrypted volumes. Opening and closing is how a fill writes, and trying a key changes nothing. What is done
 * to the keys of a published one is told by whoever does it, who knows their names (rotate-key.ts, crypto-erase.ts).
 */
export function auditedLuks(luks: LuksVolumes, trail: AuditTrail): LuksVolumes {
  return {
    formatLuks: (volume, key) =>
      recorded(trail, ofFill('encrypt', volume), () => luks.formatLuks(volume, key)),
    openLuks: (volume, key) => luks.openLuks(volume, key),
    closeLuks: (volume) => luks.closeLuks(volume),
    checkLuks: (vg, seal, key) => luks.checkLuks(vg, seal, key),
    addLuksKey: (vg, seal, key, added) => luks.addLuksKey(vg, seal, key, added),
    keepOnlyLuksKey: (vg, seal, key) => luks.keepOnlyLuksKey(vg, seal, key),
    eraseLuks: (vg, seal) => luks.eraseLuks(vg, seal),
  };
}

function ofFill(what: string, { vg, target, fillId, domainUuid }: PrivateVolume): About {
  return {
    ...{ who: whoOfOwner(domainUuid), what, volume: `${vg}/${target}` },
    ...(isGolden(domainUuid) ? {} : { domain: domainUuid }),
    correlationId: fillId,
  };
}

function ofPrivate(what: string, { vg, fillId }: Pick<PrivateVolume, 'vg' | 'fillId'>): About {
  return { who: 'daemon', what, volume: `${vg}/${privateName(fillId)}`, correlationId: fillId };
}

/** An event for each volume that is deleted; the ledger knows whose a published one is. */
export function auditedPools(pools: Pools, trail: AuditTrail, ledger: Pick<Ledger, 'fillsAt'>): Pools {
  let groupOf: ReadonlyMap<string, string> = new Map();
  return {
    list: async () => {
      const found = await pools.list();
      groupOf = new Map(found.map(({ name, vg }) => [name, vg]));
      return found;
    },
    refresh: (pool) => pools.refresh(pool),
    start: (pool) => pools.start(pool),
    deleteVolume: (pool, lv) => {
      const vg = groupOf.get(pool) ?? pool;
      const [record] = ledger.fillsAt({ vg, lv });
      const whose =
        record === undefined
          ? { who: 'daemon', correlationId: fillIdOf(lv) ?? newCorrelationId() }
          : { who: whoOfOwner(record.domainUuid), domain: record.domainUuid, correlationId: record.fillId };
      const about = { ...whose, what: 'delete', volume: `${vg}/${lv}` };
      return recorded(trail, about, () => pools.deleteVolume(pool, lv));
    },
  };
}

/** Fills begun, published, failed and cancelled. What only publishes or claims is told by the helper's verb. */
export function auditedFills(trail: AuditTrail): FillWatch {
  return {
    begun: (record, writes) => {
      if (writes) trail.record({ ...aboutFill(record), decision: 'allowed', outcome: 'begun' });
    },
    entered: () => undefined,
    ended: (record, writes, end) => {
      const about = { ...aboutFill(record), decision: 'allowed' as const };
      switch (end.how) {
        case 'stopped':
          return;
        case 'published':
          if (writes) trail.record({ ...about, outcome: 'done' });
          return;
        case 'cancelled':
          trail.record({ ...about, what: 'fill cancelled', outcome: 'done', problem: briefly(end.problem) });
          return;
        case 'failed': {
          const { problem } = end;
          trail.record({
            ...about,
            ...{ decision: decisionOf(problem), outcome: 'failed', problem: briefly(problem) },
          });
        }
      }
    },
  };
}

function aboutFill({ domainUuid, fillId, location }: Parameters<FillWatch['begun']>[0]): About {
  return {
    ...{ who: whoOfOwner(domainUuid), what: 'fill', volume: `${location.vg}/${location.lv}` },
    ...{ domain: domainUuid, correlationId: fillId },
  };
}

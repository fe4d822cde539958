/**
 * `lvp gc`: what is left over, and the repairs that are safe. Whether something was done is never taken from the
 * doing: everything is looked at again, and what is not found any more has been done.
 */
import type { Finding, GarbageReport, GarbageRequest } from '../../core/protocol/garbage-protocol.ts';
import { toProblem } from '../../core/errors.ts';
import { deletePublished } from './delete-published.ts';
import { doomedVolumes } from './end-of-volume.ts';
import type { FindNeeds, Found } from './find-garbage.ts';
import { findGarbage } from './find-garbage.ts';
import type { FillRecord } from '../ports/ledger.ts';
import type { GarbageVerbs } from '../ports/verbs.ts';
import { reclaim } from './reclaim.ts';
import { requireThawed } from '../while-frozen.ts';

/** The daemon goes on by itself with what takes longer, as when libvirt is away. */
const REBUILT_WITHIN_MS = 10_000;

export class GarbageCollector implements GarbageVerbs {
  readonly #needs: FindNeeds;

  constructor(needs: FindNeeds) {
    this.#needs = needs;
  }

  async collect({ dryRun = false, deleteOrphans = [] }: GarbageRequest): Promise<GarbageReport> {
    if (!dryRun) requireThawed(this.#needs.freeze);
    const found = await findGarbage(this.#needs);
    if (dryRun) return { findings: found.map((one) => plain(one)) };
    const whyNot = await this.#repair(found, deleteOrphans);
    const left = new Map((await findGarbage(this.#needs)).map((one) => [keyOf(one), one]));
    const before = found.map((one) => {
      const still = left.get(keyOf(one));
      left.delete(keyOf(one));
      const failed = whyNot.get(one.name);
      if (still === undefined) return plain({ ...one, done: true, hint: undefined });
      return plain(failed === undefined ? still : { ...still, why: `it is kept: ${failed}` });
    });
    return { findings: [...before, ...[...left.values()].map((one) => plain(one))] };
  }

  /** Resolves with what stood in the way of deletions, by name. What else fails is told by the log. */
  async #repair(found: readonly Found[], deleteOrphans: readonly string[]): Promise<Map<string, string>> {
    const { cache, clock, reconciler } = this.#needs;
    const does = (...actions: Finding['action'][]) => found.filter(({ action }) => actions.includes(action));
    if (found.some(({ kind, action }) => kind !== 'orphan' && action !== 'none'))
      await reclaim(this.#needs, reconciler.arrivals);
    for (const { domain = '' } of does('rebuild')) reconciler.request(domain);
    const late = new AbortController();
    await Promise.race([
      reconciler.idle(),
      clock.sleep(REBUILT_WITHIN_MS, late.signal).catch(() => undefined),
    ]);
    late.abort();
    for (const { kind, record } of does('remove')) {
      if (kind !== 'row-without-volume' || record === undefined) continue;
      // Defined meanwhile: its row is what keeps the volume from being made again unasked.
      if ((await this.#needs.domains.read(record.domainUuid)) === undefined) this.#removeRow(record);
    }
    if (found.some(({ kind }) => kind === 'cache-leftover')) await cache.strays('remove');
    const whyNot = new Map<string, string>();
    for (const { name, record } of does('delete')) {
      if (record === undefined || !deleteOrphans.includes(name)) continue;
      const why = await this.#delete(record, name);
      if (why !== undefined) whyNot.set(name, why);
    }
    return whyNot;
  }

  /** Why it was kept, or undefined. */
  async #delete(record: FillRecord, name: string): Promise<string | undefined> {
    const { ledger, log, reconciler } = this.#needs;
    const { domainUuid, fillId } = record;
    const isStillGone = () =>
      doomedVolumes(ledger.domainOf(domainUuid), ledger.fills()).some((one) => one.record.fillId === fillId);
    try {
      const outcome = await reconciler.ends.whileDeleting(domainUuid, () =>
        deletePublished(this.#needs, record, isStillGone),
      );
      if (outcome.outcome === 'kept') return outcome.why;
      log.info({ domain: domainUuid, fill: fillId, volume: name }, 'deleted by hand, with lvp gc');
      this.#removeRow(record);
      return undefined;
    } catch (error) {
      return toProblem(error).message;
    }
  }

  /** The domain's own row goes with the last of its disks. */
  #removeRow({ domainUuid, request, fillId }: FillRecord): void {
    const { ledger } = this.#needs;
    if (ledger.fillOf(domainUuid, request.target)?.fillId !== fillId) return;
    ledger.removeFill(domainUuid, request.target);
    if (!ledger.fills().some((fill) => fill.domainUuid === domainUuid)) ledger.removeDomain(domainUuid);
  }
}

function keyOf({ kind, name }: Finding): string {
  return `${kind} ${name}`;
}

/** Without what is not for the socket. */
function plain({ kind, name, domain, action, done, why, hint }: Found): Finding {
  return { kind, name, domain, action, done, why, hint };
}

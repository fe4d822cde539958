/**
 * Domains that the daemon starts itself, once, when their volumes are ready: because the annotation says so,
 * or because their autostart at boot was refused, which libvirt does not try again. Those with encrypted disks libvirt
 * never autostarts: nobody can hand it a key before it has.
 */
import { toProblem } from '../../core/errors.ts';
import { encryptedDisks } from '../../core/key/encrypted-disks.ts';
import type { Plan } from '../../core/plan.ts';
import type { Domain } from '../../core/request.ts';
import type { GuestKeys } from '../keys/guest-keys.ts';
import type { Boots, Clock, Log } from '../ports/host.ts';
import type { KnownDomain, Ledger, StartWish } from '../ports/ledger.ts';
import type { Domains } from '../ports/libvirt.ts';

/** What failed just now is not tried again at once, in ms. */
const AGAIN_LEAST_MS = 5_000;

/** A start was refused while libvirtd took no clients: if that was its autostart, it is made good. */
export function wishAutostart(
  { clock, ledger }: { readonly clock: Clock; readonly ledger: Ledger },
  domain: Domain,
): void {
  const known = ledger.domainOf(domain.uuid) ?? {
    ...{ domain, origin: 'gate' as const, startWish: 'no' as const, seenAtMs: clock.nowMs() },
  };
  if (known.startWish === 'no') ledger.putDomain({ ...known, startWish: 'if-autostart' });
}

/**
 * In a boot in which this program has not run before: libvirt may have tried its autostarts already, and the hook
 * have refused them. That can only have been domains with a volume that is not ready, or with an encrypted one; of
 * those it is made good for the ones that are autostarted. A ledger that knows no boot says nothing of this one.
 */
export function wishMissedAutostarts(
  { boots, ledger }: { readonly boots: Boots; readonly ledger: Ledger },
  bootId: string,
): void {
  const lastBoot = boots.lastBoot();
  if (lastBoot === bootId) return;
  for (const known of lastBoot === undefined ? [] : ledger.domains()) {
    const { domain, startWish } = known;
    const isUnready = domain.annotation?.volumes.some(
      ({ target }) => ledger.fillOf(domain.uuid, target)?.state !== 'ready',
    );
    const isRefused = isUnready === true || encryptedDisks(domain).length > 0;
    if (isRefused && startWish === 'no') ledger.putDomain({ ...known, startWish: 'if-autostart' });
  }
  // Last: cut off before this, the same is wished again.
  boots.putBoot(bootId);
}

/** The wish after a plan is acted on; `known` is what the ledger said before. */
export function startWishAfter(
  known: KnownDomain | undefined,
  planned: Plan,
  seen: KnownDomain['origin'] | undefined,
): StartWish {
  const wish = known?.startWish ?? 'no';
  if (seen !== 'libvirt') return wish;
  const whenReady = planned.domain.annotation?.start === 'when-ready';
  const begins = planned.problems.length === 0 && planned.disks.some(({ action }) => action === 'fill');
  if (whenReady && begins) return 'yes';
  // Taken out of the annotation during the fill.
  return wish === 'yes' && !whenReady ? 'no' : wish;
}

/** It has begun to run, whoever has started it: if it ends, somebody wanted that. */
export function dropStartWish(ledger: Pick<Ledger, 'domainOf' | 'putDomain'>, uuid: string): void {
  const known = ledger.domainOf(uuid);
  if (known !== undefined && known.startWish !== 'no') ledger.putDomain({ ...known, startWish: 'no' });
}

/**
 * Starts a domain whose volumes are ready, if that was wished for. Resolves with when to look again, in ms from now,
 * if it could not be started because this host was not given its key.
 */
export async function startIfWished(
  needs: {
    readonly domains: Domains;
    readonly ledger: Ledger;
    readonly log: Log;
    readonly guestKeys: Pick<GuestKeys, 'pauseMs'>;
  },
  uuid: string,
): Promise<number | undefined> {
  const { domains, ledger, log, guestKeys } = needs;
  if ((ledger.domainOf(uuid)?.startWish ?? 'no') === 'no') return undefined;
  const pauseMs = guestKeys.pauseMs(uuid) ?? 0;
  if (pauseMs > 0) return pauseMs;
  const found = await domains.read(uuid);
  const known = ledger.domainOf(uuid);
  // Whoever was asked in between has seen to it, or it has gone.
  if (found === undefined || known === undefined || known.startWish === 'no') return undefined;
  const wanted = known.startWish === 'yes' || found.autostart;
  // The wish is taken back before the start, so that a crash in between starts nothing twice.
  ledger.putDomain({ ...known, startWish: 'no' });
  if (!wanted || found.active) return undefined;
  const fields = { domain: found.uuid, name: found.name };
  try {
    await domains.start(found.uuid);
    log.info(fields, 'started, its volumes being ready');
    return undefined;
  } catch (error) {
    const problem = toProblem(error);
    // A start that libvirt refuses is not tried again by itself: each try is an event that would ask for the next.
    const refusedMs = guestKeys.pauseMs(uuid);
    const againMs = refusedMs === undefined ? undefined : Math.max(refusedMs, AGAIN_LEAST_MS);
    const now = ledger.domainOf(uuid);
    if (now !== undefined && (problem.code === 'LIBVIRT_UNAVAILABLE' || againMs !== undefined)) {
      ledger.putDomain({ ...now, startWish: known.startWish });
    }
    log.error({ ...fields, problem }, 'its volumes are ready but it could not be started');
    return againMs;
  }
}

/** The verbs that change keys of volumes, and what goes on with a rotation that was cut off. */
import { parseDomainXml } from '../../core/xml/domain-xml.ts';
import { ProvisionError, toProblem } from '../../core/errors.ts';
import type { KeyRotation } from '../../core/key/key-change.ts';
import { sameKey } from '../../core/key/key-change.ts';
import type {
  CryptoEraseRequest,
  CryptoEraseResult,
  RotateKeyRequest,
  RotateKeyResult,
} from '../../core/protocol/key-protocol.ts';
import type { KeyReference } from '../../core/key/key-reference.ts';
import { formatKeyReference, parseKeyReference } from '../../core/key/key-reference.ts';
import type { Plan } from '../../core/plan.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import { requireAnnotated } from '../domains/annotated-disk.ts';
import type { EraseNeeds } from './crypto-erase.ts';
import { cryptoErase } from './crypto-erase.ts';
import type { KeySubject } from './key-subject.ts';
import { chooseSubject, requireStopped, requireUnused } from './key-subject.ts';
import { observe } from '../observe.ts';
import type { LibvirtDomain } from '../ports/libvirt.ts';
import type { KeyVerbs } from '../ports/verbs.ts';
import type { Reconciler } from '../reconcile.ts';
import type { RotateNeeds, Rotation } from './rotate-key.ts';
import { rotate, tryRotation } from './rotate-key.ts';
import { requireThawed } from '../while-frozen.ts';

export interface KeyChangeNeeds extends RotateNeeds, EraseNeeds {
  readonly changingKeys: Set<string>;
  readonly reconciler: Pick<Reconciler, 'incoming' | 'starting' | 'request' | 'onStopped'>;
}

export class KeyChanges implements KeyVerbs {
  readonly #needs: KeyChangeNeeds;
  /** Rotations that are gone on with, one after the other, by the fills of their volumes. */
  readonly #queued = new Map<string, Promise<void>>();
  #last: Promise<void> = Promise.resolve();

  constructor(needs: KeyChangeNeeds) {
    this.#needs = needs;
    needs.reconciler.onStopped = (planned) => {
      this.#look(planned);
    };
  }

  async rotate(request: RotateKeyRequest): Promise<RotateKeyResult> {
    const { domains, freeze } = this.#needs;
    if (request.dryRun !== true) requireThawed(freeze);
    const to = parseKeyReference(request.to);
    if (to === undefined) {
      throw new ProvisionError({
        code: 'USAGE',
        message: `"${request.to}" names no key.`,
        hint: 'Keys are named barbican:UUID or file:NAME; lvp key list shows them.',
      });
    }
    const found = await domains.find(request.domain);
    if (found === undefined) {
      throw new ProvisionError({
        code: 'DOMAIN_NOT_FOUND',
        message: `libvirt knows no domain ${request.domain}.`,
        hint: 'See `virsh list --all`.',
      });
    }
    const rotation = await this.#rotate(found, request.target, to, request.dryRun ?? false);
    return resultOf(rotation, request.dryRun !== true);
  }

  erase(request: CryptoEraseRequest): Promise<CryptoEraseResult> {
    return cryptoErase(this.#needs, request);
  }

  /** Resolves when no rotation is gone on with any more. */
  async idle(): Promise<void> {
    while (this.#queued.size > 0) await this.#last;
  }

  async #rotate(
    found: LibvirtDomain,
    target: string,
    to: KeyReference,
    isDryRun: boolean,
  ): Promise<Rotation> {
    const needs = this.#needs;
    const domain = parseDomainXml(found.xml);
    const request = requireAnnotated(domain, target);
    await requireStopped(needs, found, { domain, request });
    const observation = await observe(needs, [domain]);
    // From here until it is this one's turn nothing is waited for: no start comes between.
    const subject = chooseSubject(needs, observation, domain, target);
    requireUnused(needs, subject, to);
    const rotation = { ...subject, to, from: this.#replaced(subject, to) };
    if (isDryRun) {
      await tryRotation(needs, rotation);
      return rotation;
    }
    const { fillId } = subject.seal;
    needs.changingKeys.add(fillId);
    try {
      await rotate(needs, rotation);
    } finally {
      needs.changingKeys.delete(fillId);
    }
    // What has failed is gone on with when the timer looks: at once, it would meet the same again.
    needs.reconciler.request(domain.uuid);
    return rotation;
  }

  /** The key that the annotation names or, if that is the new one already, the one that it named before. */
  #replaced({ request, seal }: KeySubject, to: KeyReference): KeyReference | undefined {
    if (!sameKey(request.key, to)) return request.key;
    const change = this.#needs.ledger.keyChangeOf(seal.fillId);
    if (change?.what !== 'rotate' || !sameKey(change.to, to) || sameKey(change.from, to)) return undefined;
    return change.from;
  }

  /** Told of each domain that is shut off. */
  #look({ domain, disks }: Plan): void {
    const { ledger, freeze, log } = this.#needs;
    for (const disk of disks) {
      if (disk.action !== 'none' || disk.request.key === undefined || freeze.frozen() !== undefined) continue;
      const change = ledger.keyChangeOf(disk.fillId);
      if (change?.what !== 'rotate' || change.domainUuid !== domain.uuid) continue;
      const { key } = disk.request;
      // After a power cut libvirt may have the definition that it had before.
      if (change.step === 'done' && !sameKey(key, change.from)) continue;
      if (!sameKey(key, change.from) && !sameKey(key, change.to)) {
        const fields = { domain: domain.uuid, volume: change.volume, key: formatKeyReference(key) };
        log.warn(fields, 'a key is not replaced any more: the annotation names another one');
        ledger.removeKeyChange(change.fillId);
        continue;
      }
      if (change.step === 'done' && sameKey(change.from, change.to)) continue;
      this.#goOn(change);
    }
  }

  #goOn(change: KeyRotation): void {
    const { fillId, domainUuid, target, to, volume } = change;
    if (this.#queued.has(fillId) || this.#needs.changingKeys.has(fillId)) return;
    const work = async (): Promise<void> => {
      try {
        const found = await this.#needs.domains.read(domainUuid);
        // Its turn may come long after it was seen.
        if (found === undefined || found.active) return;
        await this.#rotate(found, target, to, false);
      } catch (error) {
        this.#needs.log.warn({ volume, problem: toProblem(error) }, 'a key could not be replaced yet');
      } finally {
        this.#queued.delete(fillId);
      }
    };
    this.#last = this.#last.then(work);
    this.#queued.set(fillId, this.#last);
  }
}

function resultOf({ domain, request, volume, from, to }: Rotation, applied: boolean): RotateKeyResult {
  const before = from && formatKeyReference(from);
  return {
    ...{ uuid: domain.uuid, name: domain.name, target: request.target, volume: volumeKey(volume) },
    ...(before === undefined ? {} : { from: before }),
    ...{ to: formatKeyReference(to), applied },
    // A key of this host alone is nobody else's.
    next:
      before === undefined ? [] : [`lvp key revoke ${before}${from?.provider === 'file' ? '' : ' --all'}`],
  };
}

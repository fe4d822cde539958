/** `lvp audit`: what has been written down, for a domain by whatever name it is known. */
import { ProvisionError } from '../../core/errors.ts';
import { jobIdOf } from '../../core/owner.ts';
import type { AuditEvents, AuditQuery } from '../../core/protocol/audit-protocol.ts';
import { isUuid } from '../../core/uuid.ts';
import type { AuditStore } from '../ports/audit.ts';
import type { Ledger } from '../ports/ledger.ts';
import type { Domains } from '../ports/libvirt.ts';
import type { AuditVerbs } from '../ports/verbs.ts';

interface FindNeeds {
  /** Writes what is waiting to be written first. */
  readonly store: Pick<AuditStore, 'find'>;
  readonly ledger: Pick<Ledger, 'domains'>;
  readonly domains: Pick<Domains, 'find'>;
}

export class FindAudit implements AuditVerbs {
  readonly #needs: FindNeeds;

  constructor(needs: FindNeeds) {
    this.#needs = needs;
  }

  async audit(query: AuditQuery): Promise<AuditEvents> {
    const { store } = this.#needs;
    if (query.domain === undefined) return store.find(query);
    return store.find({ ...query, domain: await this.#uuidOf(query.domain) });
  }

  /** The ledger first: it knows domains that are gone for a while, and is there when libvirt is not. */
  async #uuidOf(nameOrUuid: string): Promise<string> {
    const uuidOrName = jobIdOf(nameOrUuid) ?? nameOrUuid;
    if (isUuid(uuidOrName)) return uuidOrName;
    const { ledger, domains } = this.#needs;
    const known = ledger.domains().findLast(({ domain }) => domain.name === nameOrUuid);
    const uuid = known?.domain.uuid ?? (await domains.find(nameOrUuid))?.uuid;
    if (uuid !== undefined) return uuid;
    throw new ProvisionError({
      code: 'DOMAIN_NOT_FOUND',
      message: `There is no domain '${nameOrUuid}'.`,
      hint: 'Of one that is gone, say the UUID; lvp audit without --domain shows it.',
    });
  }
}

/** Whether this host's policy lets a fill be. */
import { ProvisionError } from '../../core/errors.ts';
import type { HostPolicy } from '../../core/policy/host-policy.ts';
import { judgeFill } from '../../core/policy/host-policy.ts';
import type { FillRecord } from '../ports/ledger.ts';
import type { ProofPolicy } from './find-proof.ts';

export interface AllowedNeeds {
  /** Undefined: whatever is asked for is filled. */
  readonly hostPolicy: HostPolicy | undefined;
}

/** POLICY_REFUSED unless it does; returns what proof it wants. `sizeBytes` is the volume's, once it is known. */
export function requireAllowed(
  { hostPolicy }: AllowedNeeds,
  record: FillRecord,
  sizeBytes?: number,
): ProofPolicy['wanted'] {
  const domain = { uuid: record.domainUuid, name: record.domainName };
  const verdict = judgeFill(hostPolicy, domain, record, sizeBytes);
  if (verdict?.allowed === false) throw new ProvisionError(verdict.problem);
  const kind = verdict?.rule.require;
  return verdict === undefined || kind === undefined ? undefined : { kind, rule: verdict.rule.name };
}

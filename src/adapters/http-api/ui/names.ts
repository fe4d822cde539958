/** Domains and jobs by what people call them, where only their ids are written down. */
import { jobIdOf } from '../../../core/owner.ts';
import type { DomainStatus } from '../../../core/protocol/control-protocol.ts';
import type { Html } from './html.ts';
import { html } from './html.ts';
import { name } from './words.ts';

/** By UUID. */
export type Names = ReadonlyMap<string, string>;

const SHORT_LENGTH = 8;

export function namesOf(domains: readonly DomainStatus[]): Names {
  return new Map(domains.map((domain) => [domain.uuid, domain.name]));
}

/** A domain by its name, or else by the beginning of its UUID, as a job is. */
export function shownOwner(owner: string, names: Names): Html {
  const jobId = jobIdOf(owner);
  const known = names.get(owner);
  if (known !== undefined) return html`domain ${name(known)}`;
  const [kind, id] = jobId === undefined ? ['domain', owner] : ['job', jobId];
  return html`<span title="${id}">${kind} ${name(id.slice(0, SHORT_LENGTH))}</span>`;
}

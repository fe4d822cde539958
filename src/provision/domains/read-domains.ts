/**
 * Domains as last read, so that what has not changed is not parsed again: most looks at a host find every
 * domain as it was.
 */
import type { Domain } from '../../core/request.ts';
import { parseDomainXml } from '../../core/xml/domain-xml.ts';

export class ReadDomains {
  /** By domain UUID; as many as there are domains, each no longer than XML_BYTES_MAX. */
  readonly #read = new Map<string, { readonly xml: string; readonly domain: Domain }>();

  /** Throws as parseDomainXml() does, and remembers nothing of what cannot be read. */
  parse(uuid: string, xml: string): Domain {
    const before = this.#read.get(uuid);
    if (before?.xml === xml) return before.domain;
    this.#read.delete(uuid);
    const domain = parseDomainXml(xml);
    this.#read.set(uuid, { xml, domain });
    return domain;
  }

  forget(uuid: string): void {
    this.#read.delete(uuid);
  }
}

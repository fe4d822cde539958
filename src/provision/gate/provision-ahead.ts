/** `lvp provision`: the first start of a domain that libvirt does not know yet, without the start. */
import { ProvisionError } from '../../core/errors.ts';
import type { Domain } from '../../core/request.ts';
import { parseDomainXml } from '../../core/xml/domain-xml.ts';
import { observe } from '../observe.ts';
import type { ReconcileNeeds, Reconciler } from '../reconcile.ts';

/** Begins what the gate would begin if this XML were started now; resolves with the domain. */
export async function provisionAhead(
  needs: ReconcileNeeds & { readonly reconciler: Reconciler },
  xml: string,
): Promise<Domain> {
  const domain = parseDomainXml(xml);
  if (domain.annotation === undefined) {
    throw new ProvisionError({
      code: 'ANNOTATION_INVALID',
      message: `The XML of domain ${domain.name} has no annotation, so there is nothing to fill.`,
      hint: 'See libvirt-xml/ for what one looks like.',
    });
  }
  const known = (await needs.domains.find(domain.uuid)) ?? (await needs.domains.find(domain.name));
  if (known !== undefined) {
    throw new ProvisionError({
      code: 'VOLUME_STATE',
      message: `libvirt has the domain ${known.name} (${known.uuid}) already, so its volumes are filled by themselves.`,
      hint: `Nothing needs to be done; what has failed or was cancelled is tried again with: lvp retry ${known.name}`,
    });
  }
  const { reconciler } = needs;
  if (reconciler.incoming.has(domain.uuid)) {
    throw new ProvisionError({
      code: 'VOLUME_STATE',
      message: `Domain ${domain.name} arrives by migration or restore, and brings its bytes along.`,
    });
  }
  reconciler.pauses.end(domain.uuid);
  reconciler.act((await observe(needs, [domain])).plan(domain), 'gate');
  return domain;
}

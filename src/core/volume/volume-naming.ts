/**
 * Whether a domain's XML names a volume, in whichever way and place: as the source of a disk, of its backing
 * chain or its mirror, on QEMU's command line. Who asks wants to delete the volume, so what may name it counts.
 */
import type { LogicalPool } from '../request.ts';
import { attributeOf, elementsOf, parseXml, textOf, type Element } from '../xml/xml.ts';
import { mapperName } from './lvm-names.ts';

const KIND = { code: 'DOMAIN_XML_INVALID', what: 'domain XML' } as const;

/** Names under which udev and the kernel may show any logical volume; what stands behind them is not known here. */
const OPAQUE_NAME = /\/dev\/(?:dm-|block\/|disk\/by-(?:uuid|label|partuuid|partlabel|id\/dm-|id\/lvm-))/;

/** How the XML names the volume, to follow "it …", or undefined if it does not. Throws DOMAIN_XML_INVALID. */
export function namingOf(
  xml: string,
  volume: { readonly vg: string; readonly lv: string },
  pools: readonly LogicalPool[],
): string | undefined {
  const paths = [`/dev/${volume.vg}/${volume.lv}`, `/dev/mapper/${mapperName(volume.vg, volume.lv)}`];
  const namesOther = (pool: string) => pools.some(({ name, vg }) => name === pool && vg !== volume.vg);
  const naming = (element: Element): string | undefined => {
    const pool = attributeOf(element, 'pool');
    // A pool of another type may be on the same folder of devices.
    if (pool !== undefined && attributeOf(element, 'volume') === volume.lv && !namesOther(pool)) {
      return `names ${pool}/${volume.lv}`;
    }
    for (const text of [...Array.from(element.attributes, ({ value }) => value), textOf(element)]) {
      const plain = text.replaceAll(/\/(?:\.?\/)+/g, '/');
      const path = paths.find((one) => standsIn(plain, one));
      if (path !== undefined) return `names ${path}`;
      if (OPAQUE_NAME.test(plain)) return `names a device that may be any volume (${text.slice(0, 100)})`;
    }
    for (const child of elementsOf(element)) {
      const found = naming(child);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return naming(parseXml(xml, KIND));
}

/** `/dev/vg0/a` stands in `file=/dev/vg0/a,format=raw`, not in `/dev/vg0/ab`. */
function standsIn(text: string, path: string): boolean {
  for (let at = text.indexOf(path); at >= 0; at = text.indexOf(path, at + 1)) {
    if (!/[A-Za-z0-9+_.-]/.test(text.charAt(at + path.length))) return true;
  }
  return false;
}

/** The domains of a run: what an operator writes into their definitions. */
import { isDeepStrictEqual } from 'node:util';
import { formatKeyReference } from '../../src/core/key/key-reference.ts';
import type { VolumeFate } from '../../src/core/request.ts';
import { parseDomainXml } from '../../src/core/xml/domain-xml.ts';

export interface DiskSpec {
  readonly target: string;
  readonly lv: string;
  /** Named by its device: libvirt need not know it. */
  readonly isBlock?: boolean | undefined;
  readonly image: string;
  /** What opens it, if it is encrypted: `file:NAME`. */
  readonly key?: string | undefined;
  readonly sizeBytes?: number | undefined;
  readonly sha256?: string | undefined;
  readonly generation: number;
  readonly onUndefine?: VolumeFate | undefined;
  readonly afterMigration?: VolumeFate | undefined;
}

export interface DomainSpec {
  readonly uuid: string;
  readonly name: string;
  readonly disks: readonly DiskSpec[];
  readonly start: 'manual' | 'when-ready';
  /** `broken`: with a mistake; `none`: taken away. */
  readonly annotation: 'good' | 'broken' | 'none';
}

export const POOL = 'guests';
export const VG = 'vg0';

export function uuidOf(slot: number): string {
  return `${slot}`.repeat(8) + `-0000-4000-8000-` + `${slot}`.repeat(12);
}

/** What the secret that opens a volume is called by. */
export function pathOf(lv: string): string {
  return `/dev/${VG}/${lv}`;
}

function encryptionOf(lv: string): string {
  return `<encryption format='luks'><secret type='passphrase' usage='${pathOf(lv)}'/></encryption>`;
}

export function xmlOf({ uuid, name, disks, start, annotation }: DomainSpec): string {
  const volumes = disks.map((disk) => {
    const key = disk.key === undefined ? '' : ` key='${disk.key}'`;
    const size = disk.sizeBytes === undefined ? '' : ` size='${disk.sizeBytes}'`;
    const sha256 = disk.sha256 === undefined ? '' : ` sha256='${disk.sha256}'`;
    const undefine = disk.onUndefine === undefined ? '' : ` on-undefine='${disk.onUndefine}'`;
    const migrate = disk.afterMigration === undefined ? '' : ` after-migration='${disk.afterMigration}'`;
    return `<vp:volume target='${disk.target}' image='${disk.image}' format='raw' generation='${disk.generation}'${key}${size}${sha256}${undefine}${migrate}/>`;
  });
  const provision = `<vp:provision xmlns:vp='urn:libvirt-volume-provisioner:domain:1' start='${start}'>${
    annotation === 'broken' ? '' : volumes.join('')
  }</vp:provision>`;
  const devices = disks.map(
    ({ target, lv, key, isBlock = false }) =>
      `<disk type='${isBlock ? 'block' : 'volume'}' device='disk'><source ${
        isBlock ? `dev='${pathOf(lv)}'` : `pool='${POOL}' volume='${lv}'`
      }>${key === undefined ? '' : encryptionOf(lv)}</source><target dev='${target}'/></disk>`,
  );
  return `<domain><name>${name}</name><uuid>${uuid}</uuid><metadata>${
    annotation === 'none' ? '' : provision
  }</metadata><devices>${devices.join('')}</devices></domain>`;
}

/** The domain with this element in place of its own, which may name other keys and must say the same of all else. */
export function annotatedAnew(spec: DomainSpec, element: string): DomainSpec {
  const written = xmlOf(spec).replace(/<vp:provision.*<\/vp:provision>/s, () => element);
  const { annotation } = parseDomainXml(written);
  const disks = spec.disks.map((disk) => {
    const key = annotation?.volumes.find(({ target }) => target === disk.target)?.key;
    return { ...disk, key: key && formatKeyReference(key) };
  });
  const fresh = { ...spec, disks };
  if (isDeepStrictEqual(parseDomainXml(xmlOf(fresh)).annotation, annotation)) return fresh;
  throw new Error(`the annotation of ${spec.name} was changed beyond its keys: ${element}`);
}

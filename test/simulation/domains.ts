/** The domains of a run: what an operator writes into their definitions. */
import type { VolumeFate } from '../../src/core/request.ts';

export interface DiskSpec {
  readonly target: string;
  readonly lv: string;
  /** Named by its device: libvirt need not know it. */
  readonly isBlock?: boolean | undefined;
  readonly image: string;
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

export function xmlOf({ uuid, name, disks, start, annotation }: DomainSpec): string {
  const volumes = disks.map((disk) => {
    const size = disk.sizeBytes === undefined ? '' : ` size='${disk.sizeBytes}'`;
    const sha256 = disk.sha256 === undefined ? '' : ` sha256='${disk.sha256}'`;
    const undefine = disk.onUndefine === undefined ? '' : ` on-undefine='${disk.onUndefine}'`;
    const migrate = disk.afterMigration === undefined ? '' : ` after-migration='${disk.afterMigration}'`;
    return `<vp:volume target='${disk.target}' image='${disk.image}' format='raw' generation='${disk.generation}'${size}${sha256}${undefine}${migrate}/>`;
  });
  const provision = `<vp:provision xmlns:vp='urn:libvirt-volume-provisioner:domain:1' start='${start}'>${
    annotation === 'broken' ? '' : volumes.join('')
  }</vp:provision>`;
  const devices = disks.map(
    ({ target, lv, isBlock = false }) =>
      `<disk type='${isBlock ? 'block' : 'volume'}' device='disk'><source ${
        isBlock ? `dev='/dev/${VG}/${lv}'` : `pool='${POOL}' volume='${lv}'`
      }/><target dev='${target}'/></disk>`,
  );
  return `<domain><name>${name}</name><uuid>${uuid}</uuid><metadata>${
    annotation === 'none' ? '' : provision
  }</metadata><devices>${devices.join('')}</devices></domain>`;
}

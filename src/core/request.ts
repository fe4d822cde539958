/**
 * What an operator asks for: one image for one disk of one domain, as parsed from the domain's XML
 * (annotation.ts, domain-xml.ts) and located on a volume group (locate.ts).
 */

import type { Problem } from './errors.ts';
import type { KeyReference } from './key/key-reference.ts';

/** Both image formats are always stated by the operator and never probed. */
export type ImageFormat = 'raw' | 'qcow2';

/** What the whole object was compressed with, around the image format; stated like the format. */
export type OuterCompression = 'gzip' | 'zstd' | 'xz';

/** What becomes of a published volume when its guest is no more here. */
export type VolumeFate = 'keep' | 'delete';

/** An object in an S3 bucket, written `BUCKET/KEY` in annotations. */
export interface ImageReference {
  readonly bucket: string;
  readonly key: string;
}

/** One `<vp:volume>` of a domain's annotation. */
export interface VolumeRequest {
  /** The disk's `<target dev>`, e.g. `vda`. */
  readonly target: string;
  readonly image: ImageReference;
  readonly format: ImageFormat;
  /** Absent: the object is the image as it is. */
  readonly compression?: OuterCompression | undefined;
  /** Of the object as stored; 64 lower-case hex digits. */
  readonly sha256?: string | undefined;
  /** Of the object as stored; 128 lower-case hex digits. */
  readonly sha512?: string | undefined;
  /** S3 version id; without it the newest version is pinned when the fill begins. */
  readonly version?: string | undefined;
  /** The volume's size if it is to be larger than the image. */
  readonly sizeBytes?: number | undefined;
  /** Counts up when the operator wants the volume's content made again; 1 or more. */
  readonly generation: number;
  /** What opens the volume, if its disk is encrypted; never the key itself. */
  readonly key?: KeyReference | undefined;
  /** When the domain is undefined or, if it is transient, has ended; absent: kept. */
  readonly onUndefine?: VolumeFate | undefined;
  /** When the guest has moved to another host and the domain is no longer known here; absent: kept. */
  readonly afterMigration?: VolumeFate | undefined;
}

/** The whole `<vp:provision>` element. */
export interface Annotation {
  /** `when-ready`: the daemon starts the domain once all its volumes are ready. */
  readonly start: 'manual' | 'when-ready';
  readonly volumes: readonly VolumeRequest[];
}

/** Where a disk's bytes live, as its `<source>` says. */
export type DiskSource =
  | { readonly type: 'volume'; readonly pool: string; readonly volume: string }
  | { readonly type: 'block'; readonly path: string }
  | { readonly type: 'other'; readonly sourceType: string };

/** `<encryption>` of a disk, as far as it decides whether the disk can be provisioned. */
export interface DiskEncryption {
  /** `luks`, `luks2`, `qcow`. */
  readonly format: string;
  /** `qemu` where it does not say. */
  readonly engine: string;
  /** How its `<secret>` elements name what opens the disk. */
  readonly secrets: readonly { readonly by: 'usage' | 'uuid' | 'nothing'; readonly name: string }[];
}

/** One `<disk>` of a domain, with the attributes that decide whether it can be provisioned. */
export interface DomainDisk {
  readonly target: string;
  /** `disk`, `cdrom`, `floppy` or `lun`. */
  readonly device: string;
  readonly source: DiskSource;
  /** `<driver type>`; must be `raw` or absent for a disk on an LV. */
  readonly driverType?: string | undefined;
  readonly readonly: boolean;
  readonly shareable: boolean;
  readonly transient: boolean;
  readonly encryption?: DiskEncryption | undefined;
  readonly startupPolicy?: string | undefined;
}

/** A domain reduced to what this program needs; never holds secrets of the XML it came from. */
export interface Domain {
  readonly uuid: string;
  readonly name: string;
  readonly disks: readonly DomainDisk[];
  /** Absent when the domain's metadata has no element in our namespace. */
  readonly annotation?: Annotation | undefined;
}

/** A libvirt storage pool of type `logical`. */
export interface LogicalPool {
  readonly name: string;
  readonly uuid: string;
  /** `<source><name>`: the volume group. */
  readonly vg: string;
  readonly active: boolean;
  /** What is known about an inactive pool beyond that: why it is stopped, and what is done about it. */
  readonly stopped?: Problem | undefined;
}

/** The place of a volume: volume group and LV name, and by which pool each kind is reached. */
export interface VolumeLocation {
  /** The libvirt pool on the group. Thin volumes need none, for libvirt does not list them. */
  readonly pool?: string | undefined;
  readonly vg: string;
  readonly lv: string;
  /** The LVM thin pool, of a volume that is thin or is to be. */
  readonly thinPool?: string | undefined;
}

/** That of a thick volume, which libvirt knows through its pool. */
export type PooledLocation = VolumeLocation & { readonly pool: string };

/** `BUCKET/KEY`, as in annotations and messages. */
export function imageName(image: ImageReference): string {
  return `${image.bucket}/${image.key}`;
}

/** Logical volumes, by way of the root helper, and the devices behind them. */
import type { Blankness } from '../../core/plan/input.ts';
import type {
  Encryption,
  GoldenReference,
  GoldenSeal,
  LogicalVolume,
  NewGoldenSeal,
  ReceivingMark,
  Seal,
  ThinPool,
  VolumeGroup,
} from '../../core/volume/volume.ts';
import type { VolumeKey } from './keys.ts';

/** The private volume a fill writes to. */
export interface PrivateVolume {
  readonly vg: string;
  readonly fillId: string;
  /** Final LV name; that of a golden volume is goldenName(). */
  readonly target: string;
  /** Or a job, or GOLDEN_OWNER (core/owner.ts). */
  readonly domainUuid: string;
  /** Absent: the image is written to it as it is. */
  readonly encryption?: Encryption | undefined;
}

export interface VolumeListing {
  readonly volumes: readonly LogicalVolume[];
  readonly groups: readonly VolumeGroup[];
  readonly thinPools: readonly ThinPool[];
}

/** The root helper. Every call checks names, group, tags and sizes again on the other side. */
export interface Volumes {
  /** All LVs, the free space and the thin pools of what is configured; what does not exist is left out. */
  list(): Promise<VolumeListing>;
  /** Whether an unmarked volume is provably blank; reads it, changes nothing. */
  examine(vg: string, lv: string): Promise<Blankness>;
  /**
   * Makes the private LV of at least `sizeBytes`, in the group's thin pool if one is named, all of which then reads
   * zero; if this fill already has one, answers `existing`, and what it reads as is not known. POOL_UNSUITABLE if
   * the pool is not the configured one, is not active, or does not zero what it maps.
   */
  create(
    volume: PrivateVolume,
    sizeBytes: number,
    thinPool?: string,
  ): Promise<{ readonly made: 'created' | 'existing'; readonly sizeBytes: number }>;
  /**
   * Makes the private LV a snapshot of the golden volume, of at least `sizeBytes`, all of which beyond the image
   * reads zero; if this fill already has one, it goes on with that. Can be repeated. VOLUME_MISSING if there is no
   * such golden volume, VOLUME_STATE if it is not what it has to be.
   */
  clone(
    volume: PrivateVolume,
    golden: GoldenReference,
    sizeBytes: number,
  ): Promise<{ readonly made: 'created' | 'existing'; readonly sizeBytes: number }>;
  /** Renames a blank, unmarked, unopened LV from `volume.target` to the private name and marks it. */
  adopt(volume: PrivateVolume): Promise<{ readonly sizeBytes: number }>;
  /**
   * Swaps the marks for the seal, or for the marks of a volume that is to receive one, renames to the final
   * name, sets owner and mode back. A golden volume is made read-only and deactivated. Can be repeated. An encrypted
   * one is tried before, with the `key` that it wants unless it is sealed: KEY_WRONG if that does not open it.
   */
  publish(volume: PrivateVolume, seal: Seal | ReceivingMark | NewGoldenSeal, key?: VolumeKey): Promise<void>;
  /** Makes an unopened, sealed volume that of another domain. Can be repeated. */
  claim(vg: string, seal: Seal, domainUuid: string): Promise<void>;
  /** Renames the unopened volume with exactly this seal to its name aside; its tags stay. Can be repeated. */
  retire(vg: string, seal: Seal): Promise<void>;
  /** Gives a retired volume its final name back, which must be free. Can be repeated. */
  restore(vg: string, seal: Seal): Promise<void>;
  /** Seals a volume that has received what this seal says. Can be repeated. */
  arrive(vg: string, seal: Seal): Promise<void>;
  /** Makes an unopened volume that was set aside to receive a private one that is being filled. Can be repeated. */
  recall(vg: string, fillId: string): Promise<void>;
  /**
   * Gives back a volume whose taking over was cut off; removes any other private LV, without libvirt: only for
   * a group that no pool of libvirt is on, and for thin volumes, which no pool of libvirt shows. Succeeds if already
   * gone.
   */
  discard(volume: Pick<PrivateVolume, 'vg' | 'fillId'>): Promise<void>;
  /**
   * Removes the unopened thin volume with exactly this seal, under its final name or aside, or the golden volume;
   * any other is VOLUME_STATE. Succeeds if already gone.
   */
  drop(vg: string, seal: Seal | GoldenSeal): Promise<void>;
}

/** The part of the root helper that deals with encrypted volumes; the same checks hold. */
export interface LuksVolumes {
  /**
   * Puts a LUKS1 header with this one key in front of the private volume, which was made to be encrypted, and opens it
   * as openLuks() does. Whatever it held cannot be read any more. VOLUME_STATE if it is another kind of volume or somebody
   * has it open.
   */
  formatLuks(volume: PrivateVolume, key: VolumeKey): Promise<{ readonly sizeBytes: number }>;
  /**
   * Opens the private volume; what is then written through VolumeDevices.open() is encrypted on its way. One that is open
   * already, since a crash, is closed first. KEY_WRONG; VOLUME_STATE if there is no header of ours on it.
   */
  openLuks(volume: PrivateVolume, key: VolumeKey): Promise<{ readonly sizeBytes: number }>;
  /** Can be repeated; publish() and discard() need it done. VOLUME_STATE while somebody has it open. */
  closeLuks(volume: Pick<PrivateVolume, 'vg' | 'fillId'>): Promise<void>;
  /** Whether the key opens the volume with exactly this seal: KEY_WRONG if not. Reads only, whoever has it open. */
  checkLuks(vg: string, seal: Seal | ReceivingMark, key: VolumeKey): Promise<{ readonly keys: number }>;
  /** Has `added` open the unopened volume, too; nothing if it does already. KEY_WRONG if `key` does not. */
  addLuksKey(vg: string, seal: Seal, key: VolumeKey, added: VolumeKey): Promise<void>;
  /** Has nothing but this key open the unopened volume. KEY_WRONG, and nothing is changed, if it does not. */
  keepOnlyLuksKey(vg: string, seal: Seal, key: VolumeKey): Promise<void>;
  /**
   * Makes the content of the unopened volume unreadable for ever, whoever has which key. VOLUME_STATE, VOLUME_MISSING and
   * POOL_UNSUITABLE say that nothing was changed, any other error that it may have been. Can be repeated.
   */
  eraseLuks(vg: string, seal: Seal): Promise<void>;
}

/** The device of a private LV, opened exclusively by the service user. */
export interface VolumeDevice {
  readonly sizeBytes: number;
  /** Writes at a position; any length, any alignment. Resolves when the kernel has taken the bytes. */
  write(bytes: Uint8Array, offsetBytes: number): Promise<void>;
  /** Makes a range read as zeros, whatever an earlier owner left there. */
  zero(offsetBytes: number, lengthBytes: number): Promise<void>;
  /**
   * Fills `target` from a position; any length, any alignment, though only whole blocks in aligned memory come
   * without a copy. What is read is what the disk says, not what this host remembers of it, wherever the
   * kernel gives a way around its page cache. DEVICE_FAILED if not all of it can be read.
   */
  read(target: Uint8Array, offsetBytes: number): Promise<void>;
  /** Resolves when everything written is on stable storage; fails if any write was lost. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface VolumeDevices {
  /** With an encryption: what openLuks() has opened; what is written there is encrypted on its way to the LV. */
  open(vg: string, lv: string, encryption?: Encryption): Promise<VolumeDevice>;
}

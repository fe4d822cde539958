/**
 * What is done to the keys of a published volume, written down before it has effect: another key in place of the one
 * it has (`lvp key rotate`), or none for ever (`lvp incident crypto-erase`). What it is about is the content that the
 * fill in the volume's seal has made; a volume that is made again has another one, and no part in it.
 */
import type { Problem } from '../errors.ts';
import type { KeyReference } from './key-reference.ts';
import { formatKeyReference } from './key-reference.ts';

interface OfVolume {
  /** Of the seal. */
  readonly fillId: string;
  /** `VG/LV`. */
  readonly volume: string;
  /** Unix time of the last step, in ms. */
  readonly atMs: number;
}

/** The effect that comes next, or that has come and was not written down any more. */
type RotationStep = 'adding' | 'annotating' | 'removing' | 'done';

export interface KeyRotation extends OfVolume {
  readonly what: 'rotate';
  readonly domainUuid: string;
  /** The disk's `<target dev>`. */
  readonly target: string;
  readonly from: KeyReference;
  readonly to: KeyReference;
  readonly step: RotationStep;
}

export interface KeyErasure extends OfVolume {
  readonly what: 'erase';
  readonly step: 'erasing' | 'done';
}

export type KeyChange = KeyRotation | KeyErasure;

/**
 * What that means for a start: `erased`, never again; `erasing`, neither, for it was meant to be, and whether it is
 * nobody has seen; `changing`, not just now; `unfinished`, a rotation was cut off or has to wait, and the key that the
 * annotation names opens the volume.
 */
export type KeyState = 'erased' | 'erasing' | 'changing' | 'unfinished';

/** Of what the ledger says, and of whether somebody is at it in this process. */
export function keyStateOf(change: KeyChange | undefined, isChanging: boolean): KeyState | undefined {
  if (change?.what === 'erase' && change.step === 'done') return 'erased';
  if (isChanging) return 'changing';
  if (change?.what === 'erase') return 'erasing';
  return change === undefined || change.step === 'done' ? undefined : 'unfinished';
}

/** Why a volume in this state is not started, or undefined if it may be. */
export function keyStateProblem(state: KeyState | undefined, volume: string): Problem | undefined {
  switch (state) {
    case 'erased':
      return {
        code: 'VOLUME_STATE',
        message: `What volume ${volume} held was made unreadable by lvp incident crypto-erase: no key opens it, and none ever will.`,
        hint: 'There is no way back. To use the disk again delete the volume (virsh vol-delete; lvremove if it is thin), then lvp retry: it is filled anew from its image.',
      };
    case 'erasing':
      return {
        code: 'VOLUME_STATE',
        message: `Volume ${volume} was to be made unreadable by lvp incident crypto-erase, which was cut off: nothing is started on it any more.`,
        hint: `Finish it: lvp incident crypto-erase ${volume}`,
      };
    case 'changing':
      return {
        code: 'VOLUME_STATE',
        message: `The key of volume ${volume} is being changed at this moment.`,
        hint: 'Try again in a moment.',
      };
    case 'unfinished':
    case undefined:
      return undefined;
  }
}

/** True if both name the same key. */
export function sameKey(a: KeyReference | undefined, b: KeyReference | undefined): boolean {
  return a !== undefined && b !== undefined && formatKeyReference(a) === formatKeyReference(b);
}

/** What the program's thread and its workers say to each other. Bytes never travel: they stand in shared memory. */
import type { Compression } from '../../core/images/layout.ts';
import type { HashFrom, Sha256State } from '../../core/images/resumable-sha256.ts';

/** Work for one workshop; `id` comes back in the reply. */
export type Work = { readonly id: number; readonly workshop: number } & Task;

export type Task =
  | { readonly kind: 'open'; readonly memory: SharedArrayBuffer; readonly hashFrom: HashFrom | undefined }
  | { readonly kind: 'hash'; readonly offsetBytes: number; readonly lengthBytes: number }
  | { readonly kind: 'state' }
  | { readonly kind: 'digest' }
  /** Of an open file, and of no workshop. */
  | {
      readonly kind: 'zero';
      readonly fd: number;
      readonly offsetBytes: number;
      readonly lengthBytes: number;
    }
  | Decompress
  | { readonly kind: 'close' };

export interface Decompress {
  readonly kind: 'decompress';
  readonly compression: Compression;
  readonly clusterBytes: number;
  /** Where the first cluster goes; the others follow. */
  readonly targetBytes: number;
  /** Offset and length of each cluster's input in the memory; offset -1: the next of `strays`. */
  readonly inputs: readonly number[];
  /** Inputs that stand elsewhere, copied: those that began in one range and ended in the next. */
  readonly strays: readonly Uint8Array[];
}

export interface Reply {
  readonly id: number;
  /** Of 'state'; undefined where it cannot be had. */
  readonly state?: Sha256State | undefined;
  readonly digest?: string;
  /** Of 'zero': whether the range reads as zeros now. */
  readonly zeroed?: boolean;
  /** Of 'decompress': the cluster that is damaged, and how. */
  readonly damaged?: { readonly index: number; readonly found: string };
  /** Anything else that went wrong. */
  readonly error?: string;
}

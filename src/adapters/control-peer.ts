/**
 * Who is at the other end of the control socket: the kernel says it (SO_PEERCRED), but Node has no call for that, so
 * it is asked through node:ffi. Where that cannot be had, callers are `unknown`.
 *
 * The daemon's unit has PrivateUsers=yes: in there, only root and the daemon's own user have numbers, and everybody
 * else has that of nobody. Of those the kernel only tells that they are neither, so they are `unknown` too.
 */
import type { Socket } from 'node:net';
import { endianness } from 'node:os';
import { nativeFunctions } from '../core/native.ts';

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** struct ucred: pid, uid, gid. */
const UCRED_BYTES = 12;
const UID_OFFSET = 4;
/** kernel.overflowuid, as every distribution leaves it. */
const UID_OF_OTHERS = 65_534;

interface Calls {
  getsockopt(fd: number, level: number, option: number, value: Buffer, length: Buffer): number;
}

let calls: Calls | false | undefined;

/** `uid:0` for root; `unknown` for whoever cannot be told. */
export function peerOf(socket: Socket): string {
  const fd = fdOf(socket);
  const uid = fd === undefined ? undefined : peerUid(fd);
  return uid === undefined || uid === UID_OF_OTHERS ? 'unknown' : `uid:${uid}`;
}

function peerUid(fd: number): number | undefined {
  calls ??= load();
  if (calls === false) return undefined;
  const [value, length] = [Buffer.alloc(UCRED_BYTES), Buffer.alloc(4)];
  length.writeInt32LE(UCRED_BYTES);
  const failed = calls.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length) !== 0;
  return failed || length.readInt32LE() !== UCRED_BYTES ? undefined : value.readUInt32LE(UID_OFFSET);
}

/** Only for a little-endian Linux, for which these numbers are. */
function load(): Calls | false {
  if (process.platform !== 'linux' || endianness() !== 'LE') return false;
  const int = 'i32';
  const found = nativeFunctions({
    getsockopt: { arguments: [int, int, int, 'buffer', 'buffer'], return: int },
  });
  return (found as Calls | undefined) ?? false;
}

/** Node keeps it where its types do not show it. */
function fdOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as Socket & { readonly _handle?: { readonly fd?: unknown } | null };
  const fd = handle?.fd;
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}

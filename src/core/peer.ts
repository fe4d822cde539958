/**
 * Who is at the other end of a unix socket: the kernel says it (SO_PEERCRED, man 7 unix), but Node has no call for
 * that, so it is asked through node:ffi.
 */
import { nativeFunctions } from './native.ts';

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** struct ucred: pid, uid, gid. */
const UCRED_BYTES = 12;
const UID_OFFSET = 4;

interface Calls {
  getsockopt(fd: number, level: number, option: number, value: Buffer, length: Buffer): number;
}

let calls: Calls | false | undefined;

/** The user's number as this process's user namespace has it; undefined where it cannot be had. */
export function peerUid(socket: object): number | undefined {
  const fd = fdOf(socket);
  calls ??= load();
  if (calls === false || fd === undefined) return undefined;
  const [value, length] = [Buffer.alloc(UCRED_BYTES), Buffer.alloc(4)];
  length.writeInt32LE(UCRED_BYTES);
  const failed = calls.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length) !== 0;
  return failed || length.readInt32LE() !== UCRED_BYTES ? undefined : value.readUInt32LE(UID_OFFSET);
}

/** Only for a little-endian Linux, for which these numbers are. */
function load(): Calls | false {
  const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
  if (process.platform !== 'linux' || !isLittleEndian) return false;
  const int = 'i32';
  const found = nativeFunctions({
    getsockopt: { arguments: [int, int, int, 'buffer', 'buffer'], return: int },
  });
  return (found as Calls | undefined) ?? false;
}

/** Node keeps it where its types do not show it. */
function fdOf(socket: object): number | undefined {
  const { _handle: handle } = socket as { readonly _handle?: { readonly fd?: unknown } | null };
  const fd = handle?.fd;
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}

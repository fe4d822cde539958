/** Who calls on the control socket, for the audit trail. */
import type { Socket } from 'node:net';
import { peerUid } from '../core/peer.ts';

/** kernel.overflowuid, as every distribution leaves it: somebody whom the daemon's user namespace does not know. */
const UID_OF_OTHERS = 65_534;

/**
 * `uid:0` for root; `unknown` for whoever cannot be told. Where systemd is older than 257 that is everybody but root
 * and the daemon's own user: of all others PrivateUsers=yes only tells that they are neither.
 */
export function peerOf(socket: Socket): string {
  const uid = peerUid(socket);
  return uid === undefined || uid === UID_OF_OTHERS ? 'unknown' : `uid:${uid}`;
}

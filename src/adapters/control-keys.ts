/** The routes of the control socket about keys of volumes; core/protocol/key-protocol.ts names them. */
import type { IncomingMessage } from 'node:http';
import { CryptoEraseRequest, RotateKeyRequest } from '../core/protocol/key-protocol.ts';
import type { KeyVerbs } from '../provision/ports/verbs.ts';
import { readBody, usage } from './control-body.ts';

export function isAboutKeys({ url = '' }: IncomingMessage): boolean {
  return url.startsWith('/v1/keys/');
}

export async function routeKeys(request: IncomingMessage, verbs: KeyVerbs | undefined): Promise<unknown> {
  const { method = '', url = '' } = request;
  const asked = `${method} ${url}`;
  if (verbs !== undefined && asked === 'POST /v1/keys/rotate') {
    return verbs.rotate(await readBody(request, RotateKeyRequest));
  }
  if (verbs !== undefined && asked === 'POST /v1/keys/erase') {
    return verbs.erase(await readBody(request, CryptoEraseRequest));
  }
  throw usage(`There is no ${asked}.`);
}

/** The routes of the control socket about images; core/protocol/image-protocol.ts names them. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { readInSteps } from '../core/images/image-steps.ts';
import { GcRequest, ImageRequest, PrefetchRequest, RmRequest } from '../core/protocol/image-protocol.ts';
import type { ImageVerbs } from '../provision/ports/verbs.ts';
import { readBody, usage } from './control-body.ts';

/** Whether the request is one that takes as long as an image does, and answers line by line. */
export function isImageRead({ method, url }: IncomingMessage): boolean {
  return method === 'POST' && (url === '/v1/images/verify' || url === '/v1/images/prefetch');
}

export async function routeImages(
  request: IncomingMessage,
  response: ServerResponse,
  verbs: ImageVerbs,
): Promise<unknown> {
  const { method = '', url = '' } = request;
  switch (`${method} ${url}`) {
    case 'GET /v1/images':
      return verbs.images();
    case 'GET /v1/images/stored':
      return verbs.stored();
    case 'POST /v1/images/inspect':
      return verbs.inspect(await readBody(request, ImageRequest), untilGone(response));
    case 'POST /v1/images/rm':
      return verbs.rm((await readBody(request, RmRequest)).images);
    case 'POST /v1/images/gc':
      return verbs.gc((await readBody(request, GcRequest)).all ?? false);
    default:
      throw usage(`There is no ${method} ${url}.`);
  }
}

/** Answers with steps, of which the last is the result or an error. */
export async function readImage(
  request: IncomingMessage,
  response: ServerResponse,
  verbs: ImageVerbs,
): Promise<void> {
  const verb = request.url === '/v1/images/verify' ? 'verify' : 'prefetch';
  const body = await readBody(request, verb === 'verify' ? ImageRequest : PrefetchRequest);
  const signal = untilGone(response);
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  await readInSteps(
    (onProgress) => verbs[verb](body, signal, onProgress),
    (line) => response.destroyed || response.write(line),
  );
  response.end();
}

function untilGone(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once('close', () => {
    gone.abort();
  });
  return gone.signal;
}

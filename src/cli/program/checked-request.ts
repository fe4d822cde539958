/** From the options of a verb to the request that the daemon is sent. */
import type { z } from 'zod';
import { ProvisionError } from '../../core/errors.ts';

/** The options that say which image is meant, and what it is. */
export interface ImageOptions {
  readonly format?: string | undefined;
  readonly compression?: string | undefined;
  readonly sha256?: string;
  readonly sha512?: string;
  readonly imageVersion?: string;
}

export function describedBy({ format, compression, sha256, sha512, imageVersion }: ImageOptions) {
  return {
    ...{ format, compression, version: imageVersion },
    ...{ sha256: sha256?.toLowerCase(), sha512: sha512?.toLowerCase() },
  };
}

/** Throws one USAGE that names all that is wrong with it. */
export function checkedRequest<T>(schema: z.ZodType<T>, request: unknown, verb: string): T {
  const parsed = schema.safeParse(request);
  if (parsed.success) return parsed.data;
  const wrong = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
  throw new ProvisionError({
    code: 'USAGE',
    message: `The request is not valid: ${wrong}.`,
    hint: `See: lvp ${verb} --help`,
  });
}

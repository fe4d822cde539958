/** Where traces are sent, with what the files say that the configuration names. */
import type { z } from 'zod';
import type { TracingSettings } from '../../core/settings/tracing-settings.ts';
import { readCa } from './ca-file.ts';
import { readSecret } from './credentials.ts';
import type { Tracing } from './tracing-schema.ts';

/** Undefined without the section; else the settings, or each mistake. */
export function readTracing(
  section: z.infer<typeof Tracing> | undefined,
): { readonly tracing: TracingSettings | undefined } | { readonly mistakes: readonly string[] } {
  if (section === undefined) return { tracing: undefined };
  const { endpoint, ca_file: caFile, authorization_file: file } = section;
  const ca = readCa('tracing.ca_file', caFile);
  const found = readSecret('tracing.authorization_file', file, '', undefined);
  const mistakes = [ca, ...(found === undefined ? [] : [found])].flatMap((part) =>
    'mistake' in part ? [part.mistake] : [],
  );
  if ('mistake' in ca || (found !== undefined && 'mistake' in found)) return { mistakes };
  const authorization = found?.secret;
  if (authorization !== undefined && !/^[\x20-\x7e]+$/.test(authorization.reveal())) {
    return { mistakes: [`tracing.authorization_file: ${file ?? ''} is not one line of text`] };
  }
  return { tracing: { endpoint, ca: ca.ca, authorization } };
}

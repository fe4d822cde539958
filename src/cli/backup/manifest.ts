/** What a backup holds: a tar file with a manifest, which says of every other file what it is and its digest. */
import { z } from 'zod';

const path = z.string().startsWith('/').max(4096);

export const Manifest = z.strictObject({
  format: z.literal(1),
  /** Of the program that made it. */
  version: z.string().max(100),
  /** RFC 3339. */
  madeAt: z.string().max(100),
  host: z.string().max(255),
  files: z
    .array(
      z.strictObject({
        /** In the archive. */
        name: z.string().regex(/^[a-z]+(-\d+)?$/),
        /** `named`: the configuration names it (keys, certificates); where it belongs stands in `path`. */
        kind: z.enum(['config', 'credential', 'named', 'ledger']),
        /** Of a credential, within its folder. */
        credential: z
          .string()
          .regex(/^[\w@-][\w.@-]{0,254}$/)
          .optional(),
        path: path.optional(),
        /** Whether the user of the service owned it; else root does. */
        ofService: z.boolean(),
        mode: z.int().min(0).max(0o777),
        sizeBytes: z.int().min(0),
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
      }),
    )
    .min(1)
    .max(200),
});
export type Manifest = z.infer<typeof Manifest>;
export type Entry = Manifest['files'][number];

/** Every setting `…_file`, wherever it stands: keys and certificates that the configuration names. */
export function namedFiles(settings: unknown): readonly string[] {
  if (typeof settings !== 'object' || settings === null) return [];
  return Object.entries(settings).flatMap(([key, value]: [string, unknown]) =>
    typeof value === 'string' && key.endsWith('_file') && value.startsWith('/') ? [value] : namedFiles(value),
  );
}

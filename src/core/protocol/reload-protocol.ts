/** What root and the daemon say to each other when keys, or where they are read, were changed: POST /reload on the gate's socket. */
import { z } from 'zod';

const key = z.string().min(1).max(4096);

export const ReloadRequest = z.strictObject({
  /** Out of files that only root may read; absent where the configuration names files of the service's own. */
  keys: z.strictObject({ accessKey: key, secretKey: key }).optional(),
  /** Of the application credential for the key server, out of a file that only root may read. */
  keyServerSecret: key.optional(),
});
export type ReloadRequest = z.infer<typeof ReloadRequest>;

export const ReloadResult = z.object({
  /** What is new and in use now. */
  replaced: z.array(z.enum(['keys', 'ca', 'key-server'])),
  /** Settings that have changed and count from the next restart on. */
  needsRestart: z.array(z.string()),
});
export type ReloadResult = z.infer<typeof ReloadResult>;

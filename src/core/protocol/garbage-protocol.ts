/**
 * The control socket's part about what is left over, for `lvp gc`. As in control-protocol.ts, these names are also
 * those of `--json`, so they are stable.
 *
 *   POST /v1/gc   GarbageRequest → GarbageReport
 */
import { z } from 'zod';

const text = z.string().max(4096);

export const Finding = z.object({
  kind: z.enum([
    /** A private volume that no fill accounts for. */
    'abandoned',
    /** Sealed, and not yet under its final name. */
    'half-published',
    /** Published for a domain that libvirt does not know, or for a job that is not remembered. */
    'orphan',
    /** The same, and about to be deleted as its annotation says. */
    'ending',
    /** The ledger calls it published, and it is not there. */
    'row-without-volume',
    /** Published for an annotated domain, and the ledger does not know. */
    'volume-without-row',
    /** Tags of ours that do not belong together. */
    'unclear',
    /** Put aside when its content was made again. */
    'retired',
    /** A file in the image cache that belongs to nothing. */
    'cache-leftover',
    /** A ledger that could not be read any more. */
    'damaged-ledger',
  ]),
  /** `VG/LV`, a file, or a domain and its disk. */
  name: text,
  /** UUID. */
  domain: text.optional(),
  /** What is done about it, `delete` only when it is asked for. */
  action: z.enum(['none', 'remove', 'finish', 'restore', 'rebuild', 'delete']),
  done: z.boolean(),
  why: text,
  /** What a person can do, where nothing is done. */
  hint: text.optional(),
});
export type Finding = z.infer<typeof Finding>;

export const GarbageRequest = z.strictObject({
  /** Only look. */
  dryRun: z.boolean().optional(),
  /** Published volumes to delete, as `VG/LV`: findings with the action `delete`, and no others. */
  deleteOrphans: z.array(z.string().max(255)).max(4096).optional(),
});
export type GarbageRequest = z.infer<typeof GarbageRequest>;

export const GarbageReport = z.object({ findings: z.array(Finding) });
export type GarbageReport = z.infer<typeof GarbageReport>;

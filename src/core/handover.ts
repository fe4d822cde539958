/**
 * What the host that has a domain tells the one it is to be migrated to with its storage: `lvp handover` prints
 * it, `lvp receive` reads it. The volumes there end with the same seals.
 */
import { z } from 'zod';
import { Seal } from './helper-protocol.ts';

/** More than any domain has disks. */
const VOLUMES_MAX = 1024;

const name = z.string().min(1).max(1024);

export const Handover = z
  .strictObject({
    uuid: Seal.shape.domainUuid,
    name,
    volumes: z
      .array(
        z.strictObject({
          /** The disk's `<target dev>`. */
          target: name,
          /** The storage pool, which has the same name on both hosts. */
          pool: name,
          sizeBytes: z.int().min(1),
          seal: Seal,
        }),
      )
      .min(1)
      .max(VOLUMES_MAX),
  })
  .refine(({ uuid, volumes }) => volumes.every(({ seal }) => seal.domainUuid === uuid), {
    message: 'a seal is of another domain',
  });
export type Handover = z.infer<typeof Handover>;

export const ReceiveResult = z.object({
  uuid: z.string(),
  name: z.string(),
  /** `existing`: it had been set aside before. */
  volumes: z.array(
    z.object({
      target: z.string(),
      pool: z.string(),
      volume: z.string(),
      made: z.enum(['created', 'existing']),
    }),
  ),
  /** RFC 3339: until when the migration has to begin. */
  until: z.string(),
});
export type ReceiveResult = z.infer<typeof ReceiveResult>;

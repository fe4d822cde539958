/**
 * What the host that has a domain tells the one it is to be migrated to with its storage: `lvp handover` prints
 * it, `lvp receive` reads it. The volumes there end with the same seals.
 */
import { z } from 'zod';
import { parseKeyReference } from './key/key-reference.ts';
import { PublishedSeal, Seal } from './protocol/helper-protocol.ts';

/** More than a domain has annotated disks, and few enough for one request. */
const VOLUMES_MAX = 100;

/** It comes from another host and is shown to people. */
const name = z.string().regex(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]{1,255}$/u, 'is no name');

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
          seal: PublishedSeal,
          /** Of an encrypted volume: which key opens it, as the annotation says. The key itself is never handed over. */
          key: z
            .string()
            .refine((text) => parseKeyReference(text) !== undefined, 'names no key')
            .optional(),
        }),
      )
      .min(1)
      .max(VOLUMES_MAX),
  })
  .refine(({ uuid, volumes }) => volumes.every(({ seal }) => seal.domainUuid === uuid), {
    message: 'a seal is of another domain',
  })
  .refine(
    ({ volumes }) =>
      volumes.every(({ seal, key }) => (seal.encryption !== undefined) === (key !== undefined)),
    { message: 'an encrypted volume has no key, or another has one' },
  )
  .refine(
    ({ volumes }) =>
      areDistinct(volumes.map(({ target }) => target)) &&
      areDistinct(volumes.map(({ seal }) => seal.fillId)) &&
      areDistinct(volumes.map(({ pool, seal }) => `${pool}/${seal.target}`)),
    { message: 'a disk, a fill or a volume stands in it twice' },
  );
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

function areDistinct(values: readonly string[]): boolean {
  return new Set(values).size === values.length;
}

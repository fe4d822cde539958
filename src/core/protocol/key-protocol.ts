/**
 * What `lvp` and the daemon say to each other about keys of volumes, over the control socket alone: see
 * control-protocol.ts. Keys themselves never go this way, only their references.
 *
 *   POST /v1/keys/rotate  RotateKeyRequest → RotateKeyResult
 *   POST /v1/keys/erase   CryptoEraseRequest → CryptoEraseResult
 */
import { z } from 'zod';
import { parseKeyReference } from '../key/key-reference.ts';
import { AnnotateRequest } from './control-protocol.ts';

const text = z.string().max(4096);
const name = z.string().min(1).max(255);

export const RotateKeyRequest = z.strictObject({
  /** Name or UUID. */
  domain: name,
  target: AnnotateRequest.shape.target,
  /** The key that the volume is to have. */
  to: z
    .string()
    .max(128)
    .refine((given) => parseKeyReference(given) !== undefined, 'is barbican:UUID or file:NAME'),
  /** Only say what would be done, after all that can be checked without changing anything. */
  dryRun: z.boolean().optional(),
});
export type RotateKeyRequest = z.infer<typeof RotateKeyRequest>;

export const RotateKeyResult = z.object({
  uuid: text,
  name: text,
  target: text,
  /** `VG/LV`. */
  volume: text,
  /** The key that opens the volume no more; absent if that was replaced before, and only the rest was done now. */
  from: text.optional(),
  to: text,
  /** False after a dry run. */
  applied: z.boolean(),
  /** What is left for people to do. */
  next: z.array(text),
});
export type RotateKeyResult = z.infer<typeof RotateKeyResult>;

export const CryptoEraseRequest = z.strictObject({
  /** `VG/LV`; or a disk of a domain. */
  volume: z
    .string()
    .max(256)
    .regex(/^[^/]+\/[^/]+$/, 'is VG/LV')
    .optional(),
  domain: name.optional(),
  target: AnnotateRequest.shape.target.optional(),
  /** `VG/LV`: what it holds may be lost. */
  confirm: z.string().max(256).optional(),
  /** Only say what would be lost. */
  dryRun: z.boolean().optional(),
});
export type CryptoEraseRequest = z.infer<typeof CryptoEraseRequest>;

export const CryptoEraseResult = z.object({
  /** `VG/LV`, and what to confirm it with. */
  volume: text,
  sizeBytes: z.number().nonnegative(),
  /** What is lost, as the seal has it. */
  holds: z.object({ image: text, sha256: text, generation: z.number() }),
  /** UUID of the domain that it was filled for. */
  domain: text,
  /** Its name, if this host knows it. */
  name: text.optional(),
  /** False after a dry run. */
  applied: z.boolean(),
});
export type CryptoEraseResult = z.infer<typeof CryptoEraseResult>;

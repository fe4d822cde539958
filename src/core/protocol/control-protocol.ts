/**
 * What `lvp` and the daemon say to each other over the control socket: HTTP with JSON bodies. These names
 * are also those of `lvp --json`, so they are stable: fields are added, never renamed. The HTTP API has the same
 * below /api, but for handover, receive and look.
 *
 *   GET  /v1/domains                     DomainStatus[]
 *   POST /v1/domains                     ProvisionRequest → DomainStatus
 *   GET  /v1/domains/{nameOrUuid}          DomainStatus
 *   GET  /v1/domains/{nameOrUuid}/plan     Explanation
 *   GET  /v1/domains/{nameOrUuid}/handover Handover
 *   POST /v1/receive                       Handover → ReceiveResult
 *   POST /v1/domains/{nameOrUuid}/annotate AnnotateRequest → AnnotateResult
 *   POST /v1/domains/{nameOrUuid}/cancel   TargetRequest → DomainStatus
 *   POST /v1/domains/{nameOrUuid}/retry    TargetRequest → DomainStatus
 *   POST /v1/domains/{nameOrUuid}/reprovision  ReprovisionRequest → ReprovisionResult
 *   GET  /v1/disks?domain={nameOrUuid}     DomainDisks; without a domain, of all
 *   POST /v1/look                          {} → LookResult
 *
 * A failure is `{"error": Problem}` with a fitting HTTP status.
 */
import { z } from 'zod';
import type { ErrorCode, Problem } from '../errors.ts';

export const CONTROL_SOCKET = '/run/libvirt-volume-provisioner/control.sock';
/** Who may use the control socket. */
export const CONTROL_GROUP = 'libvirt-volume-provisioner';

const text = z.string().max(4096);
const count = z.number().nonnegative();

export const ProblemBody = z.object({ code: text, message: z.string().max(65_536), hint: text.optional() });

export const VolumeStatus = z.object({
  /** The disk's `<target dev>`. */
  target: text,
  /** `BUCKET/KEY`. */
  image: text,
  format: z.enum(['raw', 'qcow2']),
  /** Libvirt's pool, or, of a thin volume, which libvirt does not know, the volume group. */
  pool: text,
  volume: text,
  /** The LVM thin pool of a volume that is thin or is to be. */
  thinPool: text.optional(),
  /** `VG/LV` of the golden volume that it is a clone of, while that is still there. */
  cloneOf: text.optional(),
  /** The name of the key of an encrypted disk. */
  key: text.optional(),
  /** FillState, or `planned` (not begun), `refused` (see problem), `held` (its pool or libvirt is away). */
  state: z.enum([
    'waiting',
    'filling',
    'publishing',
    'ready',
    'failed',
    'cancelled',
    'planned',
    'refused',
    'held',
  ]),
  /** What a running fill does just now, in a word or two. */
  phase: text.optional(),
  bytesDone: count.optional(),
  bytesTotal: count.optional(),
  rateBytesPerSecond: count.optional(),
  secondsLeft: count.optional(),
  sha256: text.optional(),
  problem: ProblemBody.optional(),
  /** In what the published volume differs from what the annotation asks for now. */
  drift: text.optional(),
  /** `VG/LV` of what it held before, while that is still there: it is being made again. */
  aside: text.optional(),
  fillId: text.optional(),
  /** RFC 3339. */
  updatedAt: text.optional(),
});
export type VolumeStatus = z.infer<typeof VolumeStatus>;

export const DomainStatus = z.object({
  uuid: text,
  name: text,
  active: z.boolean(),
  startWhenReady: z.boolean(),
  volumes: z.array(VolumeStatus),
  problems: z.array(ProblemBody),
});
export type DomainStatus = z.infer<typeof DomainStatus>;

export const DomainList = z.array(DomainStatus);

export const Explanation = z.object({
  uuid: text,
  name: text,
  /** Whether the gate would let the domain start now. */
  start: z.object({ allowed: z.boolean(), why: z.string().max(65_536) }),
  /** What is done next, in order; `target` is absent for steps that concern the whole domain. */
  steps: z.array(
    z.object({
      target: text.optional(),
      action: text,
      why: text,
      /** What the host's policy says of filling this disk, by which rule; absent where there is no policy. */
      policy: text.optional(),
    }),
  ),
});
export type Explanation = z.infer<typeof Explanation>;

export const AnnotateRequest = z.strictObject({
  target: z.string().regex(/^[a-z][a-z0-9]{0,31}$/, 'is a disk target such as vda'),
  image: z.string().min(3).max(1100),
  format: z.enum(['raw', 'qcow2']),
  /** Of the whole object; absent when it is not compressed. */
  compression: z.enum(['gzip', 'zstd', 'xz']).optional(),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'is 64 lower-case hex digits')
    .optional(),
  sha512: z
    .string()
    .regex(/^[0-9a-f]{128}$/, 'is 128 lower-case hex digits')
    .optional(),
  version: z.string().min(1).max(1024).optional(),
  /** As in the annotation, e.g. `20GiB`. */
  size: z.string().min(1).max(32).optional(),
  generation: z.int().min(1).optional(),
  /** Of an encrypted disk: the name of its key, as in the annotation. */
  key: z.string().min(1).max(100).optional(),
  onUndefine: z.enum(['keep', 'delete']).optional(),
  afterMigration: z.enum(['keep', 'delete']).optional(),
  start: z.enum(['manual', 'when-ready']).optional(),
  /** Only show the XML. */
  dryRun: z.boolean().optional(),
});
export type AnnotateRequest = z.infer<typeof AnnotateRequest>;

export const AnnotateResult = z.object({
  /** The whole element, as it is or would be in the domain's metadata. */
  xml: z.string().max(262_144),
  applied: z.boolean(),
});
export type AnnotateResult = z.infer<typeof AnnotateResult>;

export const TargetRequest = z.strictObject({ target: AnnotateRequest.shape.target.optional() });
export type TargetRequest = z.infer<typeof TargetRequest>;

export const ReprovisionRequest = z.strictObject({
  target: AnnotateRequest.shape.target,
  /** `NAME/DISK`, with the domain's name: what it holds may be lost. */
  confirm: z.string().max(1024).optional(),
  /** Only say what would be lost. */
  dryRun: z.boolean().optional(),
});
export type ReprovisionRequest = z.infer<typeof ReprovisionRequest>;

export const ReprovisionResult = z.object({
  uuid: text,
  name: text,
  target: text,
  /** `VG/LV`. */
  volume: text,
  sizeBytes: count,
  /** What is lost; the image as the seal has it. */
  holds: z.object({ image: text, sha256: text, generation: count }),
  /** What comes instead. */
  wanted: z.object({ image: text, generation: count }),
  /** What to confirm it with. */
  confirm: text,
});
export type ReprovisionResult = z.infer<typeof ReprovisionResult>;

export const DomainDisks = z.object({
  domains: z.array(
    z.object({
      uuid: text,
      name: text,
      disks: z.array(
        z.object({
          /** The disk's `<target dev>`. */
          target: text,
          /** Behind it; absent where there is none that could be filled, and `problem` says why. */
          pool: text.optional(),
          volume: text.optional(),
          /** `BUCKET/KEY` that its annotation asks for. */
          image: text.optional(),
          encrypted: z.boolean(),
          problem: ProblemBody.optional(),
        }),
      ),
    }),
  ),
  /** There are more domains than are shown. */
  more: z.boolean(),
});
export type DomainDisks = z.infer<typeof DomainDisks>;

export const DisksQuery = z.strictObject({ domain: z.string().min(1).max(255).optional() });

export const LookResult = z.object({
  /** Why nothing starts and nothing is filled; absent if the host is not frozen. */
  frozen: ProblemBody.optional(),
  /** Fills that are running or waiting for their turn. */
  fills: count,
});
export type LookResult = z.infer<typeof LookResult>;

/** libvirt's own limit for XML over RPC is 4 MiB; a domain's XML is a few KiB. */
export const XML_BYTES_MAX = 4 << 20;

/** A domain that libvirt need not know, with annotation and UUID. */
export const ProvisionRequest = z.strictObject({ xml: z.string().min(1).max(XML_BYTES_MAX) });

export const ErrorBody = z.object({ error: ProblemBody });

/** A problem as it came over the socket. Daemon and lvp are installed together, so the codes agree. */
export function problemOf(body: z.infer<typeof ErrorBody>): Problem {
  return { ...body.error, code: body.error.code as ErrorCode };
}

/**
 * What `--json` prints, by verb: the names are stable, fields are added and never renamed. docs/lvp.schema.json is made
 * of it. What the daemon answers is printed as it is, so most are those of core/; failures are ErrorBody for all.
 */
import { z } from 'zod';
import { Handover, ReceiveResult } from '../../core/handover.ts';
import { AuditEvents } from '../../core/protocol/audit-protocol.ts';
import {
  AnnotateResult,
  DomainList,
  DomainStatus,
  Explanation,
  ReprovisionResult,
} from '../../core/protocol/control-protocol.ts';
import { GarbageReport } from '../../core/protocol/garbage-protocol.ts';
import {
  CachedImages,
  GcResult,
  ImageFacts,
  ReadImage,
  RmResult,
  StoredImages,
} from '../../core/protocol/image-protocol.ts';
import { Job, Jobs } from '../../core/protocol/job-protocol.ts';
import { CryptoEraseResult, RotateKeyResult } from '../../core/protocol/key-protocol.ts';
import { Report } from '../../doctor/finding.ts';
import { Manifest } from '../backup/manifest.ts';
import { ReloadReport } from '../config-reload.ts';

const text = z.string();
const texts = z.array(text);

const KeyChange = z.object({
  ...{ key: text, granted: texts, revoked: texts, readers: texts },
  projectAccess: z.boolean().optional(),
});
const ShownKey = z.object({
  ...{ key: text, name: text.optional(), created: text },
  ...{ readers: texts.optional(), projectAccess: z.boolean().optional() },
});

/** By the words of the verb, without those that print no JSON of their own: handover's is that for `receive`. */
export const JSON_SCHEMAS: Readonly<Record<string, z.ZodType>> = {
  list: DomainList,
  status: DomainStatus,
  annotate: AnnotateResult,
  explain: Explanation,
  cancel: DomainStatus,
  retry: DomainStatus,
  reprovision: z.union([ReprovisionResult, DomainStatus]),
  provision: DomainStatus,
  'job create': Job,
  'job list': Jobs,
  'job status': Job,
  'job cancel': Job,
  'job retry': Job,
  handover: Handover,
  receive: ReceiveResult,
  gc: GarbageReport,
  'image ls': z.union([CachedImages, StoredImages]),
  'image inspect': ImageFacts,
  'image verify': ReadImage,
  'image prefetch': ReadImage,
  'image rm': RmResult,
  'image gc': GcResult,
  'image write': z.object({
    ...{ image: text, device: text, sha256: text, proven: z.boolean() },
    ...{ objectBytes: z.number(), writtenBytes: z.number(), zeroedBytes: z.number() },
    ...{ seconds: z.number(), readBack: z.boolean() },
  }),
  'key rotate': RotateKeyResult,
  'key create': z.object({ key: text, name: text.optional(), readers: texts.optional() }),
  'key grant': KeyChange,
  'key revoke': KeyChange,
  'key list': z.object({ keys: z.array(ShownKey) }),
  'key show': ShownKey,
  'token create': z.object({ name: text, token: text, file: text }),
  'token list': z.array(z.object({ name: text })),
  'token revoke': z.object({ name: text, file: text }),
  // What the configuration holds is that of config.example.yaml, and follows it.
  'config check': z.object({ path: text, warnings: texts, config: z.looseObject({}) }),
  'config reload': ReloadReport,
  setup: z.object({ written: texts, bucket: z.enum(['readable', 'unknown']), started: z.boolean() }),
  doctor: Report,
  audit: AuditEvents,
  // Entries of the journal, one a line, as journalctl has them.
  logs: z.looseObject({ MESSAGE: text }),
  metrics: z.object({ text }),
  'incident freeze': z.object({
    frozen: z.object({ since: text.optional(), by: text.optional(), reason: text.optional() }),
    ...{ alreadyFrozen: z.boolean(), daemonTold: z.boolean() },
  }),
  'incident crypto-erase': CryptoEraseResult,
  'incident thaw': z.object({ wasFrozen: z.boolean(), daemonTold: z.boolean() }),
  'incident report': z.object({
    ...{ version: text, host: text, madeAt: text },
    parts: z.array(z.object({ name: text, tookMs: z.number(), missing: text.optional() })),
  }),
  backup: z.object({ output: text, manifest: Manifest }),
  restore: z.object({ manifest: Manifest, written: texts }),
  completion: z.object({ shell: text, script: text }),
};

/** One way in which a host is not as it should be, and what the doctor is to say to it. */
import type { Severity } from '../../../src/doctor/finding.ts';
import type { FakeHost } from '../fake-host.ts';

export interface Breakage {
  readonly id: string;
  readonly breaks: (host: FakeHost) => void;
  readonly severity: Severity;
  readonly says: RegExp;
  /** Whether --fix makes it well again. */
  readonly fixed?: true;
}

export function breakage(
  id: string,
  breaks: (host: FakeHost) => void,
  severity: Severity,
  says: RegExp,
  fixed?: true,
): Breakage {
  return { id, breaks, severity, says, ...(fixed === undefined ? {} : { fixed }) };
}

function withMinio(host: FakeHost, changed: Partial<FakeHost['configured']['minio']>): void {
  host.configured = { ...host.configured, minio: { ...host.configured.minio, ...changed } };
}

export function withKeys(host: FakeHost, access: string, secret: string): void {
  withMinio(host, { accessKey: { reveal: () => access }, secretKey: { reveal: () => secret } });
}

export function withEndpoint(host: FakeHost, url: string): void {
  withMinio(host, { endpoint: new URL(url) });
}

export function withBuckets(host: FakeHost, buckets: readonly string[] | undefined): void {
  withMinio(host, { buckets });
}

export function withLog(host: FakeHost, changed: Partial<FakeHost['configured']['log']>): void {
  host.configured = { ...host.configured, log: { ...host.configured.log, ...changed } };
}

export function withCertificate(
  host: FakeHost,
  changed: Partial<NonNullable<FakeHost['stored']['certificate']>>,
): void {
  const { certificate } = host.stored;
  if (certificate !== undefined)
    host.stored = { ...host.stored, certificate: { ...certificate, ...changed } };
}

export function withAnswer(
  host: FakeHost,
  changed: Partial<NonNullable<FakeHost['stored']['answer']>>,
): void {
  const { answer } = host.stored;
  if (answer !== undefined) host.stored = { ...host.stored, answer: { ...answer, ...changed } };
}

/** What the configuration says of traces: where they are sent. */

export interface TracingSettings {
  /** Of the collector; `v1/traces` is added to its path. */
  readonly endpoint: URL;
  /** PEM text of the certificate authority to trust instead of the system's. */
  readonly ca: string | undefined;
  /** The value of the header Authorization; none is sent without it. */
  readonly authorization: { reveal(): string } | undefined;
}

/** What the configuration says of the HTTP API: where it listens, who may call it, and how often. */

/** What an identity may be allowed to do; each route needs one of them. */
export const HTTP_RIGHTS = [
  'read',
  'provision',
  'cancel',
  'retry',
  'reprovision',
  'annotate',
  'images',
  'audit',
  'metrics',
] as const;
export type HttpRight = (typeof HTTP_RIGHTS)[number];

/** Somebody who may call: the holder of a client certificate or of a token. */
export interface HttpIdentity {
  /** The certificate's whole subject such as `CN=ci,O=Example`, in either order, or its common name alone. */
  readonly certificate?: string | undefined;
  /** The token's name in the tokens file. */
  readonly token?: string | undefined;
  readonly verbs: readonly HttpRight[];
  /** Beginnings of the names of volumes that it may change; none: all volumes. Reading is not limited by it. */
  readonly volumePrefixes: readonly string[];
}

export interface HttpSettings {
  readonly host: string;
  /** 1024 to 65535. */
  readonly port: number;
  /** Absent: plain HTTP, on a loopback address only. */
  readonly tls?:
    | {
        readonly certFile: string;
        readonly keyFile: string;
        /** Absent: client certificates are not asked for. */
        readonly clientCaFile?: string | undefined;
      }
    | undefined;
  readonly tokensFile?: string | undefined;
  readonly identities: readonly HttpIdentity[];
  /** Where volumes are made for callers that name no pool; absent: the only one of the host. */
  readonly pool?: string | undefined;
  /** Hosts that the `image_url` of a request may name beside that of the store's endpoint, as `HOST` or `HOST:PORT`. */
  readonly imageHosts: readonly string[];
  /** Who may read /metrics without authentication. */
  readonly metricsOpenTo: 'nobody' | 'loopback' | 'everybody';
  /** Of one identity, or of one address that has none. */
  readonly requestsPerSecondMax: number;
  /** Failed authentications of one address. */
  readonly failuresPerMinuteMax: number;
  /** At the same time. */
  readonly connectionsMax: number;
}

/** Where `lvp token` keeps tokens unless told otherwise. */
export const TOKENS_FILE = '/etc/libvirt-volume-provisioner/tokens';

/** What the HTTP API lives on, and what ends one day. */
export type HttpCredential = 'server-certificate' | 'ca-certificate';

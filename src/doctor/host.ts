/** What the doctor can ask of a host, and the few things it may change there. Nothing here ever throws. */
import type { DomainStatus } from '../core/protocol/control-protocol.ts';
import type { GarbageReport } from '../core/protocol/garbage-protocol.ts';
import type { HttpSettings } from '../core/settings/http-settings.ts';
import type { KeyServerSettings } from '../core/settings/key-settings.ts';
import type { ThinLimits } from '../core/thin/thin-limits.ts';
import type { KeepFree } from '../core/volume/headroom.ts';
import type { ChangeName, CommandName } from './commands.ts';

/** An answer, that there is no such thing, or why there is no answer. */
export type Answer<T> =
  | { readonly is: 'known'; readonly value: T }
  | { readonly is: 'absent' }
  | { readonly is: 'unknown'; readonly why: string };

export interface FileFacts {
  readonly kind: 'file' | 'folder' | 'socket' | 'link' | 'other';
  /** The lowest twelve bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
}

interface Revealing {
  reveal(): string;
}

/** What the doctor looks at of the program's configuration. */
export interface ConfigFacts {
  /** Absent: there is no HTTP API. */
  readonly http?: Pick<HttpSettings, 'port' | 'tls' | 'tokensFile'> | undefined;
  readonly minio: {
    readonly endpoint: URL;
    readonly buckets: readonly string[] | undefined;
    readonly accessKey: Revealing;
    readonly secretKey: Revealing;
  };
  readonly keys: { readonly barbican: Pick<KeyServerSettings, 'url' | 'authUrl'> | undefined };
  readonly volumeGroups: readonly string[];
  readonly thinPools: ReadonlyMap<string, string>;
  readonly thin: ThinLimits;
  readonly integrity: { readonly requireDigest: boolean };
  readonly keepFree: ReadonlyMap<string, KeepFree>;
  readonly limits: { readonly virtualSizeMaxBytes: number };
  readonly stateDir: string;
  readonly runtimeDir: string;
  readonly log: { readonly level: string; readonly format: string };
  readonly warnings: readonly string[];
}

/** What the image store said to questions that change nothing. */
export interface StoreFacts {
  /** Undefined without TLS. */
  readonly certificate:
    | {
        /** Undefined if it was verified for this name by an authority that is trusted. */
        readonly mistake: string | undefined;
        readonly protocol: string;
        readonly expiresMs: number;
      }
    | undefined;
  /** Undefined if it was not asked, because its certificate is not in order. */
  readonly answer:
    | {
        readonly status: number;
        /** S3's word for a refusal. */
        readonly code: string | undefined;
        /** Store's clock minus that of this host. */
        readonly clockAheadMs: number | undefined;
      }
    | undefined;
  /** Those that the key sees; undefined if it may not list any. */
  readonly buckets: readonly string[] | undefined;
  /** Those that the key may write to; undefined if the store does not say. */
  readonly writableBuckets: readonly string[] | undefined;
}

/** What Keystone and Barbican said to questions that read no key. */
export interface KeyServerFacts {
  /** Of those that are reached over TLS. */
  readonly certificates: readonly {
    /** Host and port. */
    readonly server: string;
    /** Undefined if it was verified for this name by an authority that is trusted. */
    readonly mistake: string | undefined;
    readonly expiresMs: number;
  }[];
  /** Undefined if nobody was asked, because a certificate is not in order. */
  readonly identity: { readonly userId: string } | { readonly mistake: string } | undefined;
}

export interface HostFacts {
  readonly isRoot: boolean;
  /** Of the program and of the Node that runs it. */
  readonly versions: { readonly program: string; readonly node: string };
  readonly configPath: string;
  nowMs(): number;
  readText(path: string): Promise<Answer<string>>;
  /** Of a link itself, not of what it leads to. */
  stat(path: string): Promise<Answer<FileFacts>>;
  list(folder: string): Promise<Answer<readonly string[]>>;
  /** What one of a fixed list of commands prints, none of which changes anything. */
  run(command: CommandName): Promise<Answer<string>>;
  /** Network addresses at which the process takes connections or datagrams: `tcp 0.0.0.0:8080`. */
  listeners(pid: number): Promise<Answer<readonly string[]>>;
  /** All network addresses at which anybody on this host takes TCP connections. */
  hostListeners(): Promise<Answer<readonly string[]>>;
  config(): Promise<Answer<ConfigFacts>>;
  store(): Promise<Answer<StoreFacts>>;
  keyServer(): Promise<Answer<KeyServerFacts>>;
  /** From the daemon, over its control socket. */
  domains(): Promise<Answer<readonly DomainStatus[]>>;
  garbage(): Promise<Answer<GarbageReport>>;
}

/** What `--fix` may do. Each throws if it could not be done. */
export interface HostChanges {
  /** Changes rights and owner of a file or folder, but never of what a link leads to. */
  setRights(path: string, rights: Rights): Promise<void>;
  /** Puts our hook in its place, as the package does. */
  installHook(): Promise<void>;
  change(command: ChangeName): Promise<void>;
}

export interface Rights {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

export type Host = HostFacts & HostChanges;

/**
 * The configuration: one YAML file, secrets from files, and the environment of the Go provisioner for
 * those who come from it. All mistakes are found at once and reported in one CONFIG_INVALID.
 */
import { readFileSync } from 'node:fs';
import { LineCounter, parseDocument } from 'yaml';
import { CONFIG_PATH } from '../core/settings/config-path.ts';
import { ProvisionError } from '../core/errors.ts';
import type { GoldenMax } from '../core/thin/golden-budget.ts';
import type { KeepFree } from '../core/volume/headroom.ts';
import type { HostPolicy } from '../core/policy/host-policy.ts';
import type { ThinLimits } from '../core/thin/thin-limits.ts';
import type { HttpSettings } from '../core/settings/http-settings.ts';
import type { KeySettings } from '../core/settings/key-settings.ts';
import type { Subnet } from '../core/settings/subnet.ts';
import type { MinisignKey } from '../core/policy/minisign.ts';
import type { FillLimits } from '../core/settings/fill-limits.ts';
import type { TracingSettings } from '../core/settings/tracing-settings.ts';
import { readCa } from './config/ca-file.ts';
import type { SecretResult } from './config/credentials.ts';
import { codeOf, readSecret } from './config/credentials.ts';
import type { FromEnvironment } from './config/environment.ts';
import { readEnvironment } from './config/environment.ts';
import type { Origin } from './config/mistakes.ts';
import { toHttpSettings } from './config/http-schema.ts';
import { readKeySettings } from './config/keys.ts';
import { describeIssue } from './config/mistakes.ts';
import type { PrefetchSettings } from './config/prefetch-schema.ts';
import { toPrefetchSettings } from './config/prefetch-schema.ts';
import { ConfigFile } from './config/schema.ts';
import type { Secret } from './config/secret.ts';
import { readTracing } from './config/tracing.ts';

export interface Config {
  readonly minio: {
    readonly endpoint: URL;
    readonly region: string;
    /** Only these buckets may be named in annotations; undefined: any. */
    readonly buckets: readonly string[] | undefined;
    /** Only with these is a connection made; undefined: with whatever the endpoint's name stands for. */
    readonly addresses: readonly Subnet[] | undefined;
    /** PEM text of the certificate authority to trust instead of the system's. */
    readonly ca: string | undefined;
    readonly accessKey: Secret;
    readonly secretKey: Secret;
    readonly connectTimeoutMs: number;
    readonly idleTimeoutMs: number;
    readonly rateMinBytesPerS: number;
  };
  readonly volumeGroups: readonly string[];
  /** Those that other hosts see too; in those of them that are not in volumeGroups, seals are only verified. */
  readonly sharedVolumeGroups: readonly string[];
  /** The thin pool of a group, by the group's name. */
  readonly thinPools: ReadonlyMap<string, string>;
  readonly thin: ThinLimits;
  /** How many golden volumes are read and compared a day; 0: none. */
  readonly goldenChecksPerDay: number;
  /** Undefined: whatever the other settings allow is filled for every domain. */
  readonly hostPolicy: HostPolicy | undefined;
  readonly integrity: {
    readonly requireDigest: boolean;
    readonly minisignKeys: readonly MinisignKey[];
    /** What images whose BUCKET/KEY begins so must bring along; the first that fits counts. */
    readonly rules: readonly { readonly prefix: string; readonly require: 'digest' | 'signature' }[];
  };
  /** Whether every volume is read back from the disk and compared before it is published. */
  readonly verify: { readonly readBack: boolean };
  readonly gate: { readonly graceMs: number };
  readonly fills: FillLimits;
  /** Of all fills together; 0: no limit. */
  readonly writeRateMaxBytesPerS: number;
  /** What fills leave free, by volume group. */
  readonly keepFree: ReadonlyMap<string, KeepFree>;
  /** What golden volumes may hold of the thin pool, by volume group; of those that are not here, GOLDEN_MAX. */
  readonly goldenMax: ReadonlyMap<string, GoldenMax>;
  /** 0: nothing is kept. */
  readonly cache: { readonly sizeMaxBytes: number };
  readonly prefetch: PrefetchSettings;
  readonly limits: {
    readonly virtualSizeMaxBytes: number;
    /** Bytes of content for each byte of a compressed object. */
    readonly expansionMax: number;
    readonly decompressionTimeMaxMs: number;
  };
  /** Undefined: there is no HTTP API. */
  readonly http: HttpSettings | undefined;
  readonly keys: KeySettings;
  /** Undefined: there are no traces. */
  readonly tracing: TracingSettings | undefined;
  readonly reconcile: { readonly intervalMs: number };
  readonly stateDir: string;
  readonly runtimeDir: string;
  readonly log: {
    readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error';
    readonly format: 'json' | 'pretty' | 'auto';
  };
}

export interface LoadOptions {
  readonly path?: string | undefined;
  /** Secrets found in it are removed from it. */
  readonly env?: Record<string, string | undefined> | undefined;
  readonly handed?: Handed | undefined;
  /** What an earlier call took out of the environment. */
  readonly fromEnvironment?: KeysThere | undefined;
}

export interface Keys {
  readonly accessKey: Secret;
  readonly secretKey: Secret;
}

/** Those that were there. */
export type KeysThere = { readonly [Name in keyof Keys]: Keys[Name] | undefined };

/** Newer than systemd's credentials, which stay as they were when the service started. */
export interface Handed extends Partial<Keys> {
  /** Of the application credential for the key server. */
  readonly keyServerSecret?: Secret;
}

export interface LoadedConfig {
  readonly config: Config;
  readonly warnings: readonly string[];
  /** As the file and the environment have them. */
  readonly settings: ConfigFile;
  /** Files that hold keys or certificate authorities, as far as the configuration names them. */
  readonly secretFiles: readonly string[];
  /** Keys that came out of the environment, and are not there any more. */
  readonly fromEnvironment: KeysThere;
}

/** Throws one CONFIG_INVALID that lists every mistake. */
export function loadConfig(options: LoadOptions = {}): LoadedConfig {
  const { path = CONFIG_PATH, env = process.env, handed } = options;
  const environment = readEnvironment(env);
  const fromEnvironment = {
    accessKey: environment.accessKey ?? options.fromEnvironment?.accessKey,
    secretKey: environment.secretKey ?? options.fromEnvironment?.secretKey,
  };
  const file = readConfigFile(path);
  if (file.mistakes.length > 0) throw invalid(path, file.mistakes);
  const { settings, variables, warnings } = withEnvironment(file.settings, environment);
  const parsed = ConfigFile.safeParse(settings);
  if (!parsed.success) {
    const origin: Origin = { file: path, document: file.document, lines: file.lines, variables };
    const mistakes = parsed.error.issues.flatMap((issue) => describeIssue(issue, settings, origin));
    throw invalid(path, file.missing ? [`${path}: there is no such file`, ...mistakes] : mistakes);
  }
  const { minio } = parsed.data;
  const directory = env['CREDENTIALS_DIRECTORY'];
  const accessKey = pick(
    'minio.access_key_file',
    keyOf(minio.access_key_file, handed?.accessKey) ??
      readSecret('minio.access_key_file', minio.access_key_file, 'minio-access-key', directory),
    fromEnvironment.accessKey,
  );
  const secretKey = pick(
    'minio.secret_key_file',
    keyOf(minio.secret_key_file, handed?.secretKey) ??
      readSecret('minio.secret_key_file', minio.secret_key_file, 'minio-secret-key', directory),
    fromEnvironment.secretKey,
  );
  const ca = readCa('minio.ca_file', minio.ca_file);
  const tracing = readTracing(parsed.data.tracing);
  const keys = readKeySettings(parsed.data.keys, directory, handed?.keyServerSecret);
  const isWrong = 'mistakes' in tracing || 'mistakes' in keys;
  if ('mistake' in accessKey || 'mistake' in secretKey || 'mistake' in ca || isWrong) {
    const mistakes = [accessKey, secretKey, ca].flatMap((part) => ('mistake' in part ? [part.mistake] : []));
    const others = [tracing, keys].flatMap((part) => ('mistakes' in part ? part.mistakes : []));
    throw invalid(path, [...mistakes, ...others]);
  }
  return {
    config: {
      ...toConfig(parsed.data, accessKey.secret, secretKey.secret, ca.ca),
      keys: keys.keys,
      tracing: tracing.tracing,
    },
    warnings: [...environment.warnings, ...warnings],
    settings: parsed.data,
    secretFiles: [
      ...[minio.access_key_file, minio.secret_key_file, minio.ca_file],
      parsed.data.keys.barbican?.ca_file,
    ].filter((file) => file !== undefined),
    fromEnvironment,
  };
}

/** A file that the configuration names comes before all others. */
function keyOf(file: string | undefined, handed: Secret | undefined): SecretResult | undefined {
  return file === undefined && handed !== undefined ? { secret: handed } : undefined;
}

function readConfigFile(path: string) {
  const lines = new LineCounter();
  let text = '';
  let missing = false;
  const mistakes: string[] = [];
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    missing = codeOf(error) === 'ENOENT';
    if (!missing) mistakes.push(`${path}: cannot be read: ${codeOf(error)}`);
  }
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  for (const error of document.errors) {
    mistakes.push(`${path}:${lines.linePos(error.pos[0]).line}: not YAML: ${error.message}`);
  }
  let settings: unknown = {};
  try {
    // No aliases: nobody needs them in a file this small, and nested ones multiply without end.
    if (mistakes.length === 0) settings = document.toJS({ maxAliasCount: 0 }) ?? {};
  } catch {
    mistakes.push(
      `${path}: aliases (*name) are not allowed; write the value out, or "*name" if it is a pattern`,
    );
  }
  return { document, lines, settings, mistakes, missing };
}

/** Adds what only the environment says. The file wins, because it is where people look. */
function withEnvironment(settings: unknown, environment: FromEnvironment) {
  const variables = new Map<string, string>();
  const warnings: string[] = [];
  const merged: unknown = structuredClone(settings);
  if (!isRecord(merged)) return { settings: merged, variables, warnings };
  for (const { name, path, value } of environment.settings) {
    const key = path.join('.');
    if (addSetting(merged, path, value)) variables.set(key, name);
    else warnings.push(`The environment variable ${name} is ignored: the configuration file sets ${key}.`);
  }
  if (variables.has('state_dir')) {
    warnings.push('DB_PATH names the folder of the new ledger; the old job database is not read.');
  }
  return { settings: merged, variables, warnings };
}

function addSetting(settings: Record<string, unknown>, path: readonly string[], value: unknown): boolean {
  const [key, ...rest] = path;
  if (key === undefined) return false;
  if (rest.length > 0) {
    const inner = (settings[key] ??= {});
    return isRecord(inner) && addSetting(inner, rest, value);
  }
  if (key in settings) return false;
  settings[key] = value;
  return true;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function pick(
  key: string,
  fromFile: SecretResult | undefined,
  fromEnvironment: Secret | undefined,
): SecretResult {
  if (fromFile !== undefined) return fromFile;
  if (fromEnvironment !== undefined) return { secret: fromEnvironment };
  const credential = key.includes('access') ? 'minio-access-key' : 'minio-secret-key';
  return {
    mistake: `${key} is missing; allowed is a file of mode 0600, or leave it out and give the systemd credential ${credential}`,
  };
}

function invalid(path: string, mistakes: readonly string[]): ProvisionError {
  const count = mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`;
  return new ProvisionError({
    code: 'CONFIG_INVALID',
    message: `The configuration ${path} has ${count}:\n${mistakes.map((mistake) => `  ${mistake}`).join('\n')}`,
    hint: `\nCorrect it and check with: lvp config check --config ${path}`,
  });
}

function toConfig(
  file: ConfigFile,
  accessKey: Secret,
  secretKey: Secret,
  ca: string | undefined,
): Omit<Config, 'keys' | 'tracing'> {
  const { minio } = file;
  return {
    minio: {
      endpoint: minio.endpoint,
      region: minio.region,
      buckets: minio.buckets,
      addresses: minio.addresses,
      ca,
      accessKey,
      secretKey,
      connectTimeoutMs: minio.timeouts.connect,
      idleTimeoutMs: minio.timeouts.idle,
      rateMinBytesPerS: minio.rate_min,
    },
    volumeGroups: file.volume_groups,
    sharedVolumeGroups: file.shared_volume_groups,
    thinPools: new Map(Object.entries(file.thin_pools)),
    goldenChecksPerDay: file.thin.checks_per_day,
    thin: {
      overcommit: file.thin.overcommit,
      warnPercent: file.thin.warn_percent,
      stopPercent: file.thin.stop_percent,
    },
    hostPolicy: file.policy?.map(({ volume_groups: volumeGroups, size_max: sizeMaxBytes, ...rule }) => ({
      ...rule,
      ...{ volumeGroups, sizeMaxBytes },
    })),
    integrity: {
      requireDigest: file.integrity.require_digest,
      minisignKeys: file.integrity.minisign_keys,
      rules: file.integrity.rules,
    },
    verify: { readBack: file.verify.read_back },
    gate: { graceMs: file.gate.grace },
    fills: {
      concurrentMax: file.fills.concurrent,
      queueMax: file.fills.queue_max,
      deadlineMs: file.fills.deadline,
    },
    writeRateMaxBytesPerS: file.fills.write_rate_max,
    keepFree: new Map(Object.entries(file.pools).map(([vg, { keep_free }]) => [vg, keep_free])),
    goldenMax: new Map(
      Object.entries(file.pools).flatMap(([vg, { golden_max: max }]) =>
        max === undefined ? [] : [[vg, max]],
      ),
    ),
    cache: { sizeMaxBytes: file.cache.size_max },
    prefetch: toPrefetchSettings(file.prefetch),
    limits: {
      virtualSizeMaxBytes: file.limits.virtual_size_max,
      expansionMax: file.limits.expansion_max,
      decompressionTimeMaxMs: file.limits.decompression_time_max,
    },
    http: file.http && toHttpSettings(file.http),
    reconcile: { intervalMs: file.reconcile.interval },
    stateDir: file.state_dir,
    runtimeDir: file.runtime_dir,
    log: file.log,
  };
}

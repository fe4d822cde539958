/**
 * The environment names of the Go provisioner (rossigee/libvirt-volume-provisioner, its
 * /etc/default file), so that its users can move over. The configuration file always wins.
 */
import { dirname } from 'node:path';
import { Secret } from './secret.ts';

type Environment = Record<string, string | undefined>;

/** A setting as the configuration file would have it. */
interface Setting {
  readonly path: readonly string[];
  readonly convert: (text: string, env: Environment) => unknown;
}

const SETTINGS: Readonly<Record<string, Setting>> = {
  MINIO_ENDPOINT: { path: ['minio', 'endpoint'], convert: withScheme },
  MINIO_REGION: { path: ['minio', 'region'], convert: (text) => text },
  MINIO_BUCKET: { path: ['minio', 'buckets'], convert: (text) => [text] },
  LVM_VOLUME_GROUP: { path: ['volume_groups'], convert: (text) => [text] },
  MAX_CONCURRENT_JOBS: { path: ['fills', 'concurrent'], convert: Number },
  DB_PATH: { path: ['state_dir'], convert: (text) => dirname(text) },
  LOG_LEVEL: { path: ['log', 'level'], convert: (text) => text.toLowerCase() },
  LOG_FORMAT: { path: ['log', 'format'], convert: (text) => (text === 'text' ? 'pretty' : text) },
};

/** Names that meant something there and mean nothing here, with the reason. */
const WITHOUT_MEANING: readonly (readonly [RegExp, string])[] = [
  [
    /^(PORT|HOST|LISTEN_ADDR|TLS_CERT_FILE|TLS_KEY_FILE|SERVER_CERT|SERVER_KEY|CLIENT_CA_CERT|API_TOKENS_FILE)$/,
    'the HTTP API is set up under http in the configuration file, see docs/migrating.md',
  ],
  [/^(MINIO|LVM)_RETRY_/, 'failures that pass are tried again by themselves'],
  [/^CACHE_(?!DIRECTORY$)/, 'the image cache is set by cache.size_max in the configuration file'],
];

const ACCESS_KEY_NAMES = ['MINIO_ACCESS_KEY', 'MINIO_ACCESS_KEY_ID'];
const SECRET_KEY_NAMES = ['MINIO_SECRET_KEY', 'MINIO_SECRET_ACCESS_KEY'];

export interface FromEnvironment {
  readonly settings: readonly {
    readonly name: string;
    readonly path: readonly string[];
    readonly value: unknown;
  }[];
  readonly accessKey?: Secret | undefined;
  readonly secretKey?: Secret | undefined;
  readonly warnings: readonly string[];
}

/** Reads what is set, and takes secrets out of `env`, so that no child process inherits them. */
export function readEnvironment(env: Environment): FromEnvironment {
  const settings = Object.entries(SETTINGS).flatMap(([name, { path, convert }]) => {
    const text = env[name];
    return text === undefined || text === '' ? [] : [{ name, path, value: convert(text, env) }];
  });
  const ignored = Object.keys(env).flatMap((name) => {
    const reason = WITHOUT_MEANING.find(([pattern]) => pattern.test(name))?.[1];
    return reason === undefined ? [] : [`The environment variable ${name} is ignored: ${reason}.`];
  });
  const accessKey = takeSecret(env, ACCESS_KEY_NAMES);
  const secretKey = takeSecret(env, SECRET_KEY_NAMES);
  const secretWarnings = [...(accessKey?.warnings ?? []), ...(secretKey?.warnings ?? [])];
  return {
    settings,
    accessKey: accessKey?.secret,
    secretKey: secretKey?.secret,
    warnings: [...secretWarnings, ...ignored],
  };
}

function takeSecret(
  env: Environment,
  names: readonly string[],
): { readonly secret: Secret; readonly warnings: readonly string[] } | undefined {
  const found = names.filter((name) => env[name] !== undefined && env[name] !== '');
  const [first] = found;
  if (first === undefined) return undefined;
  const secret = new Secret(env[first] ?? '');
  for (const name of names) Reflect.deleteProperty(env, name);
  const warnings = found.map(
    (name) =>
      `The environment variable ${name} holds a secret. Processes and the journal can see environments: ` +
      'use a systemd credential or a file of mode 0600 (minio.access_key_file, minio.secret_key_file).',
  );
  return { secret, warnings };
}

/** The Go provisioner accepted HOST:PORT with MINIO_USE_SSL beside it. */
function withScheme(text: string, env: Environment): string {
  if (/^[a-z]+:\/\//i.test(text)) return text;
  return `${env['MINIO_USE_SSL'] === 'false' ? 'http' : 'https'}://${text}`;
}

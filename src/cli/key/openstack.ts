/**
 * Who calls, as OpenStack's own programs are told: by the variables OS_…, or by an entry of clouds.yaml that OS_CLOUD
 * names. https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html
 */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { KeyIdentity, Named } from '../../adapters/key/keystone.ts';
import { ProvisionError } from '../../core/errors.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Caller {
  readonly identity: KeyIdentity;
  readonly authUrl: string | undefined;
  readonly caFile: string | undefined;
}

const HINT =
  'Load what OpenStack gives you (an openrc file, or clouds.yaml and OS_CLOUD): OS_AUTH_URL with OS_APPLICATION_CREDENTIAL_ID and OS_APPLICATION_CREDENTIAL_SECRET, or with OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME and the domains.';

/** Whether the environment says anything of it at all. */
export function isCallerNamed(env: Environment): boolean {
  return ['OS_CLOUD', 'OS_APPLICATION_CREDENTIAL_ID', 'OS_USERNAME', 'OS_USER_ID'].some(
    (name) => (env[name] ?? '') !== '',
  );
}

/** `askPassword`: where there is a terminal. USAGE names what is missing. */
export async function callerOf(
  env: Environment,
  askPassword?: (user: string) => Promise<string | undefined>,
): Promise<Caller> {
  const said =
    (env['OS_CLOUD'] ?? '') === '' ? env : { ...env, ...(await cloudOf(env, env['OS_CLOUD'] ?? '')) };
  const given = (name: string) => (said[name] === '' ? undefined : said[name]);
  const common = { authUrl: given('OS_AUTH_URL'), caFile: given('OS_CACERT') };
  const id = given('OS_APPLICATION_CREDENTIAL_ID');
  if (id !== undefined) {
    const secret = given('OS_APPLICATION_CREDENTIAL_SECRET');
    if (secret === undefined) throw missing(['OS_APPLICATION_CREDENTIAL_SECRET']);
    return { ...common, identity: { kind: 'application-credential', id, secret: revealing(secret) } };
  }
  const user = named(given, 'USER', given('OS_USERNAME'));
  const project = named(given, 'PROJECT', given('OS_PROJECT_NAME') ?? given('OS_TENANT_NAME'));
  const password = given('OS_PASSWORD') ?? (user && (await askPassword?.(nameOf(user))));
  if (user === undefined || project === undefined || password === undefined || password === '') {
    throw missing([
      ...(user === undefined ? ['OS_USERNAME'] : []),
      ...(project === undefined ? ['OS_PROJECT_NAME'] : []),
      ...(password === undefined || password === '' ? ['OS_PASSWORD'] : []),
    ]);
  }
  return { ...common, identity: { kind: 'password', user, project, password: revealing(password) } };
}

type Given = (name: string) => string | undefined;

function named(given: Given, what: 'USER' | 'PROJECT', name: string | undefined): Named | undefined {
  const id = given(`OS_${what}_ID`);
  if (id !== undefined) return { id };
  if (name === undefined) return undefined;
  const domainName = given(`OS_${what}_DOMAIN_NAME`) ?? given('OS_DEFAULT_DOMAIN_NAME');
  const domainId = given(`OS_${what}_DOMAIN_ID`) ?? given('OS_DEFAULT_DOMAIN');
  if (domainId === undefined && domainName !== undefined) return { name, domain: { name: domainName } };
  return { name, domain: { id: domainId ?? 'default' } };
}

function nameOf(user: Named): string {
  return 'name' in user ? user.name : user.id;
}

/** What an entry says, by the names of the variables. */
async function cloudOf(env: Environment, cloud: string): Promise<Record<string, string>> {
  const places = [
    'clouds.yaml',
    join(homedir(), '.config/openstack/clouds.yaml'),
    '/etc/openstack/clouds.yaml',
  ];
  const path = env['OS_CLIENT_CONFIG_FILE'] ?? places.find(isThere);
  const { parse } = await import('yaml');
  const entry: unknown = path === undefined ? undefined : valueAt(parse(readFileSync(path, 'utf8')), cloud);
  if (!isRecord(entry)) {
    throw new ProvisionError({
      code: 'USAGE',
      message: `OS_CLOUD names ${cloud}, which stands in no clouds.yaml.`,
      hint: `Looked for in: ${places.join(', ')}.`,
    });
  }
  const auth = isRecord(entry['auth']) ? entry['auth'] : {};
  const all = Object.entries({ ...auth, cacert: entry['cacert'] });
  return Object.fromEntries(
    all.flatMap(([name, value]) =>
      typeof value === 'string' ? [[`OS_${name.toUpperCase()}`, value] as const] : [],
    ),
  );
}

function valueAt(document: unknown, cloud: string): unknown {
  const clouds = isRecord(document) ? document['clouds'] : undefined;
  return isRecord(clouds) ? clouds[cloud] : undefined;
}

function isThere(path: string): boolean {
  try {
    readFileSync(path);
    return true;
  } catch {
    return false;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function revealing(text: string): { reveal(): string } {
  return { reveal: () => text };
}

function missing(names: readonly string[]): ProvisionError {
  return new ProvisionError({
    code: 'USAGE',
    message: `The key server has to know who you are, and there is no ${names.join(', no ')} in the environment.`,
    hint: HINT,
  });
}

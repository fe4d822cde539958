/** Which key server is meant: by options and environment, else by this host's configuration. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { ProvisionError } from '../../core/errors.ts';
import { CONFIG_PATH } from '../../core/settings/config-path.ts';
import type { KeyServerSettings } from '../../core/settings/key-settings.ts';
import { withApiVersion } from '../../core/settings/key-settings.ts';
import type { KeySecrets } from '../../adapters/key/secrets.ts';
import { terminal } from '../terminal/terminal.ts';
import type { Caller, Environment } from './openstack.ts';
import { callerOf } from './openstack.ts';

export interface ServerOptions {
  readonly url?: string;
  readonly config: string;
}

export function withServer(command: Command): Command {
  return command
    .option('--url <url>', 'of Barbican; else that of the configuration')
    .option('--config <path>', 'the configuration, for what is not said otherwise', CONFIG_PATH);
}

/** Asks for the password where only that is missing. */
export async function openSecrets(
  options: ServerOptions,
  env: Environment = process.env,
): Promise<KeySecrets> {
  const asker = terminal();
  const caller = await callerOf(env, asker && ((user) => asker.secret(`Password of ${user} (not shown)`)));
  const settings = await serversOf(options, caller);
  const { KeySecrets: Secrets } = await import('../../adapters/key/secrets.ts');
  return new Secrets(settings, caller.identity);
}

/** Exported for its test. */
export async function serversOf(options: ServerOptions, caller: Caller): Promise<KeyServerSettings> {
  const configured = options.url === undefined || caller.authUrl === undefined ? await ofConfig(options) : {};
  const url = options.url ?? configured.url;
  const authUrl = caller.authUrl ?? configured.auth_url;
  if (url === undefined || authUrl === undefined) {
    throw usage(
      `Which key server is meant is not said: ${url === undefined ? 'no --url' : 'no OS_AUTH_URL'}, and no keys.barbican in ${options.config}.`,
      'Give --url https://BARBICAN:9311 and OS_AUTH_URL, or set it up in the configuration (docs/encryption.md).',
    );
  }
  const { server } = await import('../../adapters/config/keys-schema.ts');
  const [barbican, keystone] = [server().safeParse(url), server().safeParse(authUrl)];
  if (!barbican.success) throw usage(`--url: ${url} is no URL of a key server.`, HTTPS);
  if (!keystone.success) throw usage(`OS_AUTH_URL: ${authUrl} is no URL of Keystone.`, HTTPS);
  return {
    url: withApiVersion(barbican.data, 'v1'),
    authUrl: withApiVersion(keystone.data, 'v3'),
    ca: readCa(caller.caFile ?? configured.ca_file),
  };
}

const HTTPS = 'It is https://HOST:PORT; plain http is for this machine itself alone.';

interface Configured {
  readonly url?: string;
  readonly auth_url?: string;
  readonly ca_file?: string;
}

/** Without the secrets that belong to it: those are the daemon's. */
async function ofConfig({ config }: ServerOptions): Promise<Configured> {
  const [{ parse }, { z }] = await Promise.all([import('yaml'), import('zod')]);
  const text = z.string().optional().catch(undefined);
  const Section = z.object({
    keys: z.object({ barbican: z.object({ url: text, auth_url: text, ca_file: text }) }),
  });
  let found: unknown;
  try {
    found = parse(readFileSync(config, 'utf8'));
  } catch {
    // Most who call this are on no host at all.
    return {};
  }
  const parsed = Section.safeParse(found);
  if (!parsed.success) return {};
  const { url, auth_url, ca_file } = parsed.data.keys.barbican;
  return {
    ...(url === undefined ? {} : { url }),
    ...(auth_url === undefined ? {} : { auth_url }),
    ...(ca_file === undefined ? {} : { ca_file }),
  };
}

function readCa(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const why = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw usage(
      `The certificate authority ${file} cannot be read: ${why}.`,
      'It is named by OS_CACERT, or by keys.barbican.ca_file.',
    );
  }
}

function usage(message: string, hint: string): ProvisionError {
  return new ProvisionError({ code: 'USAGE', message, hint });
}

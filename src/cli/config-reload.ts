/**
 * `lvp config reload`: what was changed and can be taken over without a restart; what `systemctl reload` runs.
 * systemd has copied the credentials when the service started and does not do so again, so root hands over what
 * stands in their files now.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import type { Handed, LoadedConfig } from '../adapters/config-file.ts';
import { ProvisionError } from '../core/errors.ts';
import type { ReloadRequest } from '../core/protocol/reload-protocol.ts';
import { ReloadResult } from '../core/protocol/reload-protocol.ts';
import { CONFIG_PATH } from '../core/settings/config-path.ts';
import { KEY_CREDENTIAL } from '../core/settings/key-settings.ts';
import { answerOf } from './daemon.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';
import { ControlTransport } from './transport/control-transport.ts';

const KEYS = ['minio-access-key', 'minio-secret-key'] as const;
/** Where systemd keeps what it has loaded, encrypted ones too. */
const LOADED = '/run/credentials/libvirt-volume-provisioner.service';
const WORDS = { keys: 'the keys', ca: 'the certificate authority' } as const;

export const ReloadReport = ReloadResult.extend({
  /** Names of credentials that are not in the folder beside the configuration, so that a change of them was not seen. */
  loadedBySystemd: z.array(z.string()),
});
export type ReloadReport = z.infer<typeof ReloadReport>;

export const addReload: AddVerb = (config, finish) => {
  const reload = config
    .command('reload')
    .description('let the running service take over changed keys, CAs and key server, once these work')
    .option('--config <path>', 'the configuration', CONFIG_PATH);
  common(
    reload,
    ['sudo lvp config reload', 'sudo systemctl reload libvirt-volume-provisioner'],
    'alone',
  ).action(async (options: { config: string }, self: Command) => {
    const { output } = contextOf(self, finish);
    const { loadConfig } = await import('../adapters/config-file.ts');
    const handed = await secretsIn(join(dirname(options.config), 'credentials'));
    // Run by systemd, it is told of the credentials as they were when the service started.
    const env = { ...process.env, CREDENTIALS_DIRECTORY: process.env['CREDENTIALS_DIRECTORY'] ?? LOADED };
    const loaded = loadConfig({ path: options.config, env, handed });
    const gate = new ControlTransport(join(loaded.config.runtimeDir, 'gate.sock'));
    const asked = { method: 'POST', path: '/reload', body: requestOf(handed) } as const;
    const result = await answerOf(gate, ReloadResult, asked).catch(asRootOnly);
    const report = { ...result, loadedBySystemd: loadedBySystemd(loaded, handed) };
    output.result(report, () => textOf(report));
    finish(EXIT.ok);
  });
};

/** What stands there now; the two keys of the store only together. */
async function secretsIn(folder: string): Promise<Handed> {
  const { readSecret } = await import('../adapters/config/credentials.ts');
  const secretOf = (name: string) => {
    const found = existsSync(join(folder, name)) ? readSecret(name, undefined, name, folder) : undefined;
    if (found === undefined || 'secret' in found) return found?.secret;
    throw new ProvisionError({ code: 'CONFIG_INVALID', message: `${found.mistake}. Nothing was changed.` });
  };
  const [accessKey, secretKey] = KEYS.map(secretOf);
  const keyServerSecret = secretOf(KEY_CREDENTIAL);
  return {
    ...(accessKey === undefined || secretKey === undefined ? {} : { accessKey, secretKey }),
    ...(keyServerSecret === undefined ? {} : { keyServerSecret }),
  };
}

function requestOf({ accessKey, secretKey, keyServerSecret }: Handed): ReloadRequest {
  return {
    ...(accessKey === undefined || secretKey === undefined
      ? {}
      : { keys: { accessKey: accessKey.reveal(), secretKey: secretKey.reveal() } }),
    ...(keyServerSecret === undefined ? {} : { keyServerSecret: keyServerSecret.reveal() }),
  };
}

/** What is needed, and was neither handed over nor stands in files or an environment of which the configuration knows. */
function loadedBySystemd({ config, settings, fromEnvironment }: LoadedConfig, handed: Handed): string[] {
  const { access_key_file: accessFile, secret_key_file: secretFile } = settings.minio;
  const [access, secret] = KEYS;
  return [
    ...((handed.accessKey ?? fromEnvironment.accessKey ?? accessFile) === undefined ? [access] : []),
    ...((handed.secretKey ?? fromEnvironment.secretKey ?? secretFile) === undefined ? [secret] : []),
    ...(config.keys.barbican !== undefined && handed.keyServerSecret === undefined ? [KEY_CREDENTIAL] : []),
  ];
}

function asRootOnly(error: unknown): never {
  const cause = error instanceof ProvisionError ? error.cause : undefined;
  if (!(cause instanceof Error && 'code' in cause && cause.code === 'EACCES')) throw error;
  throw new ProvisionError({
    code: 'USAGE',
    message: 'Only root may change the keys of the running service. Nothing was changed.',
    hint: 'Use sudo.',
    cause: error,
  });
}

function textOf({ replaced, needsRestart, loadedBySystemd: loaded }: ReloadReport): string {
  const taken = replaced.flatMap((what) => (what === 'key-server' ? [] : [WORDS[what]])).join(' and ');
  return [
    ...(replaced.length === 0
      ? ['Keys, certificate authorities and key server are those already in use.']
      : []),
    ...(taken === '' ? [] : [`In use from now on, and taken by the store: ${taken}.`]),
    ...(replaced.includes('key-server')
      ? ['In use from now on: what keys.barbican says, and its secret.']
      : []),
    ...(needsRestart.length === 0
      ? []
      : [`Changed too, but only from the next restart on: ${needsRestart.join(', ')}.`]),
    ...(loaded.length === 0
      ? []
      : [
          `Loaded by systemd from elsewhere than credentials/, so that a change counts from the next restart on: ${loaded.join(', ')}.`,
        ]),
  ].join('\n');
}

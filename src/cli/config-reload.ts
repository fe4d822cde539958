/**
 * `lvp config reload`: new keys and certificate authority into use without a restart; what `systemctl reload` runs.
 * systemd has copied the credentials when the service started and does not do so again, so root hands over what
 * stands in their files now.
 */
import type { Command } from 'commander';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CONFIG_PATH } from '../core/config-path.ts';
import { ProvisionError } from '../core/errors.ts';
import type { ReloadRequest } from '../core/reload-protocol.ts';
import { ReloadResult } from '../core/reload-protocol.ts';
import { answerOf } from './daemon.ts';
import { EXIT } from './exit-codes.ts';
import { ControlTransport } from './transport/control-transport.ts';
import type { AddVerb } from './verb.ts';
import { common, contextOf } from './verb.ts';

const KEYS = ['minio-access-key', 'minio-secret-key'];
/** Where systemd keeps what it has loaded, encrypted ones too. */
const LOADED = '/run/credentials/libvirt-volume-provisioner.service';
const WORDS = { keys: 'the keys', ca: 'the certificate authority' } as const;

export const addReload: AddVerb = (config, finish) => {
  const reload = config
    .command('reload')
    .description('let the running service take over changed keys and CA, once the store takes them')
    .option('--config <path>', 'the configuration', CONFIG_PATH);
  common(
    reload,
    ['sudo lvp config reload', 'sudo systemctl reload libvirt-volume-provisioner'],
    'alone',
  ).action(async (options: { config: string }, self: Command) => {
    const { output } = contextOf(self, finish);
    const { loadConfig } = await import('../adapters/config-file.ts');
    const folder = join(dirname(options.config), 'credentials');
    const isInFolder = KEYS.every((name) => existsSync(join(folder, name)));
    // Run by systemd, it is told of the credentials as they were when the service started.
    const directory = isInFolder ? folder : (process.env['CREDENTIALS_DIRECTORY'] ?? LOADED);
    const env = { ...process.env, CREDENTIALS_DIRECTORY: directory };
    const { config: loaded } = loadConfig({ path: options.config, env });
    const { accessKey, secretKey } = loaded.minio;
    const request: ReloadRequest = isInFolder
      ? { keys: { accessKey: accessKey.reveal(), secretKey: secretKey.reveal() } }
      : {};
    const gate = new ControlTransport(join(loaded.runtimeDir, 'gate.sock'));
    const asked = { method: 'POST', path: '/reload', body: request } as const;
    const result = await answerOf(gate, ReloadResult, asked).catch(asRootOnly);
    output.result(result, () => textOf(result));
    finish(EXIT.ok);
  });
};

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

function textOf({ replaced, needsRestart }: ReloadResult): string {
  const taken = replaced.map((what) => WORDS[what]).join(' and ');
  return [
    replaced.length === 0
      ? 'Keys and certificate authority are those already in use.'
      : `In use from now on, and taken by the store: ${taken}.`,
    ...(needsRestart.length === 0
      ? []
      : [`Changed too, but only from the next restart on: ${needsRestart.join(', ')}.`]),
  ].join('\n');
}

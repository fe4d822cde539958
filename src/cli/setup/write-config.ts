/** The files that `lvp setup` makes: tried out in a folder of their own first, then moved into their places. */
import { chmodSync, chownSync, existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import type { LoadedConfig } from '../../adapters/config-file.ts';
import { loadConfig } from '../../adapters/config-file.ts';
import { ProvisionError } from '../../core/errors.ts';
import { syncFolder } from '../program/sync-folder.ts';
import type { Answers } from './answers.ts';

const EXAMPLE = '/usr/share/doc/libvirt-volume-provisioner/examples/config.yaml';

/** Files beside the configuration that are not there yet: `place()` puts them there, `discard()` takes them away. */
export interface StagedConfig {
  /** What the daemon would make of them. */
  readonly loaded: LoadedConfig;
  /** Returns the paths of what was put into place; a configuration that was there is kept as PATH.old. */
  place(): readonly string[];
  discard(): void;
}

/** Throws CONFIG_INVALID if the daemon would not take the answers; then nothing is left. */
export function stageConfig(path: string, answers: Answers): StagedConfig {
  const folder = dirname(path);
  const staging = join(folder, `.setup-${process.pid}`);
  const credentials = join(staging, 'credentials');
  const discard = () => {
    rmSync(staging, { recursive: true, force: true });
  };
  discard();
  mkdirSync(credentials, { recursive: true, mode: 0o700 });
  try {
    write(join(staging, 'config.yaml'), textOf(answers), 0o640);
    write(join(credentials, 'minio-access-key'), answers.accessKey, 0o600);
    write(join(credentials, 'minio-secret-key'), answers.secretKey, 0o600);
    const env = { CREDENTIALS_DIRECTORY: credentials };
    const loaded = loadConfig({ path: join(staging, 'config.yaml'), env });
    return { loaded, place: () => placeAll(staging, path, discard), discard };
  } catch (error) {
    discard();
    throw aboutAnswers(error, staging, folder);
  }
}

/** The mistakes are in the answers: the file that holds them has gone again. */
function aboutAnswers(error: unknown, staging: string, folder: string): unknown {
  if (!(error instanceof ProvisionError) || error.code !== 'CONFIG_INVALID') return error;
  const message = error.message.replaceAll(staging, folder);
  return new ProvisionError({ code: error.code, message, hint: '\nNothing was written.', cause: error });
}

/** The keys first: a configuration never stands there without those that belong to it. */
function placeAll(staging: string, path: string, discard: () => void): readonly string[] {
  const folder = dirname(path);
  const credentials = join(folder, 'credentials');
  mkdirSync(credentials, { recursive: true, mode: 0o700 });
  // The folder belongs to the group of the service, which has to read the configuration.
  const { gid } = statSync(folder);
  chownSync(join(staging, 'config.yaml'), -1, gid);
  const keys = ['minio-access-key', 'minio-secret-key'].map((name) => join(credentials, name));
  for (const key of keys) renameSync(key.replace(folder, staging), key);
  if (existsSync(path)) renameSync(path, `${path}.old`);
  renameSync(join(staging, 'config.yaml'), path);
  for (const changed of [credentials, folder]) syncFolder(changed);
  discard();
  return [...keys, path];
}

function textOf({ endpoint, caFile, bucket, volumeGroups, policy }: Answers): string {
  const settings = {
    minio: { endpoint, buckets: [bucket], ...(caFile === undefined ? {} : { ca_file: caFile }) },
    volume_groups: volumeGroups,
    ...(policy === undefined ? {} : { policy }),
  };
  return `# Made by lvp setup. All keys, with their defaults: ${EXAMPLE}\n${stringify(settings)}`;
}

function write(path: string, text: string, mode: number): void {
  writeFileSync(path, text, { mode: 0o600, flush: true, flag: 'wx' });
  // Whatever the administrator's umask is: the service must be able to read it.
  chmodSync(path, mode);
}

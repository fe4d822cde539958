/**
 * Keys and certificate authority of the store, and all that says which key server is asked how, read again while the
 * program runs: on SIGHUP, when root hands secrets over, and when one of their files changes. They are used once the
 * store, or the key server, has taken them. Of everything else that has changed in the configuration it is only said that
 * it needs a restart.
 */
import { statSync } from 'node:fs';
import { describeProblem, ProvisionError, toProblem } from '../core/errors.ts';
import type { ReloadResult } from '../core/protocol/reload-protocol.ts';
import type { BarbicanSettings } from '../core/settings/key-settings.ts';
import { KEY_CREDENTIAL } from '../core/settings/key-settings.ts';
import type { Log } from '../provision/ports/host.ts';
import type { Config, Handed, LoadedConfig } from './config-file.ts';
import { settingsForRestart } from './config/changes.ts';

/** How often it is looked whether a file has changed. */
const LOOK_MS = 5_000;
/** Looks until files that have not changed are tried again, where the store could not be asked. */
const LOOKS_UNTIL_AGAIN = 6;

export interface ReloadNeeds {
  readonly running: LoadedConfig;
  /** Throws CONFIG_INVALID. */
  readonly load: (handed: Handed | undefined) => LoadedConfig;
  /** Throws why the store does not take the keys or its certificate is not accepted; then nothing has changed. */
  readonly images: { replace(minio: Config['minio']): Promise<void> };
  /** Throws why the key server does not take the identity or its certificate is not accepted; then nothing has changed. */
  readonly keyServer: { replace(settings: BarbicanSettings | undefined): Promise<void> };
  /** What failed for want of the right keys may be tried again. */
  readonly onReplaced: () => void;
  readonly log: Log;
}

type Replaced = ReloadResult['replaced'];

export class ConfigReload {
  readonly #needs: ReloadNeeds;
  #secretFiles: readonly string[];
  #minio: Config['minio'];
  #barbican: BarbicanSettings | undefined;
  #handed: Handed | undefined;
  #last: Promise<unknown> = Promise.resolve();
  /** The files as they were tried last, and as they were at the last look. */
  #tried: string;
  #seen: string;
  #looksUntilAgain = 0;

  constructor(needs: ReloadNeeds) {
    const { config, secretFiles } = needs.running;
    this.#needs = needs;
    this.#secretFiles = secretFiles;
    this.#minio = config.minio;
    this.#barbican = config.keys.barbican;
    this.#tried = this.#seen = stateOf(secretFiles);
  }

  /** One after the other; `handed` are secrets that stand in files which only root may read. */
  reload(handed?: Handed): Promise<ReloadResult> {
    const result = this.#last.then(() => this.#reload(handed));
    this.#last = result.catch(() => undefined);
    return result;
  }

  /** Listens for SIGHUP and looks at the files from time to time, until it is stopped. */
  start(): () => void {
    const onHangup = () => {
      this.#reloadUnasked();
    };
    const timer = setInterval(() => {
      this.look();
    }, LOOK_MS);
    process.on('SIGHUP', onHangup);
    return () => {
      clearInterval(timer);
      process.off('SIGHUP', onHangup);
    };
  }

  /** Tries files that have changed, once they are at rest: access key and secret key are two of them. */
  look(): void {
    const state = stateOf(this.#secretFiles);
    const isAtRest = state === this.#seen;
    this.#seen = state;
    const isAgain = this.#looksUntilAgain > 0 && --this.#looksUntilAgain === 0;
    if (isAtRest && (isAgain || state !== this.#tried)) this.#reloadUnasked();
  }

  #reloadUnasked(): void {
    this.reload().catch((error: unknown) => {
      this.#needs.log.error({ problem: toProblem(error) }, 'nothing of the configuration was taken over');
    });
  }

  async #reload(given: Handed | undefined): Promise<ReloadResult> {
    const { load, running, log, onReplaced } = this.#needs;
    this.#tried = stateOf(this.#secretFiles);
    this.#looksUntilAgain = 0;
    const read = load({ ...this.#handed, ...given });
    this.#secretFiles = read.secretFiles;
    this.#tried = this.#seen = stateOf(read.secretFiles);
    const needsRestart = settingsForRestart(running.settings, read.settings);
    if (needsRestart.length > 0) {
      log.warn({ needsRestart }, 'these settings have changed and count from the next restart on');
    }
    // Each by itself: a key server that is down keeps no key of the store from being replaced.
    const store = await this.#attempt(() => this.#replaceStore(read, given));
    const keyServer = await this.#attempt(() => this.#replaceKeyServer(read, given));
    const replaced = [store, keyServer].flatMap((part) => ('replaced' in part ? part.replaced : []));
    if (replaced.length > 0) onReplaced();
    const [first, ...others] = [store, keyServer].flatMap((part) =>
      'failure' in part ? [part.failure] : [],
    );
    for (const other of others) log.error({ problem: toProblem(other) }, 'not taken over');
    if (first !== undefined) throw first;
    return { replaced, needsRestart: [...needsRestart] };
  }

  async #attempt(
    replace: () => Promise<Replaced>,
  ): Promise<{ readonly replaced: Replaced } | { readonly failure: ProvisionError }> {
    try {
      return { replaced: await replace() };
    } catch (error) {
      const { code } = toProblem(error);
      if (code === 'STORE_UNREACHABLE' || code === 'KEY_SERVER_UNREACHABLE') {
        this.#looksUntilAgain = LOOKS_UNTIL_AGAIN;
      }
      return { failure: error as ProvisionError };
    }
  }

  async #replaceStore({ config: { minio } }: LoadedConfig, given: Handed | undefined): Promise<Replaced> {
    const { running, images, log } = this.#needs;
    const replaced = differencesOf(this.#minio, minio);
    if (replaced.length > 0) {
      const { ca, accessKey, secretKey } = minio;
      try {
        // Where the store is, and the rest of its settings, are as they were at the start.
        await images.replace({ ...running.config.minio, ca, accessKey, secretKey });
      } catch (error) {
        throw keptOld(error, 'keys or certificate authority');
      }
      log.info({ replaced }, 'taken over; the store takes them');
    }
    this.#minio = minio;
    const { accessKey, secretKey } = given ?? {};
    if (accessKey !== undefined && secretKey !== undefined) {
      this.#handed = { ...this.#handed, accessKey, secretKey };
    }
    return replaced;
  }

  async #replaceKeyServer({ config: { keys } }: LoadedConfig, given: Handed | undefined): Promise<Replaced> {
    const { keyServer, log } = this.#needs;
    const isNew = describeServer(this.#barbican) !== describeServer(keys.barbican);
    const keyServerSecret = given?.keyServerSecret ?? this.#handed?.keyServerSecret;
    if (isNew) {
      try {
        await keyServer.replace(keys.barbican);
      } catch (error) {
        throw keptOld(error, 'settings of the key server', keyServerSecret === undefined ? OF_SYSTEMD : '');
      }
      const { url, applicationCredentialId } = keys.barbican ?? {};
      log.info({ url: url?.href, applicationCredentialId }, 'taken over; the key server takes them');
    }
    this.#barbican = keys.barbican;
    if (keyServerSecret !== undefined) this.#handed = { ...this.#handed, keyServerSecret };
    return isNew ? ['key-server'] : [];
  }
}

/** Why a secret may still be the old one. */
const OF_SYSTEMD = ` The secret of the application credential is the one with which the service was started: where ${KEY_CREDENTIAL} is no file in credentials/, systemd loads it, and a changed one counts from the next restart on.`;

/** Compared, and shown to nobody: with the secret. */
function describeServer(settings: BarbicanSettings | undefined): string | undefined {
  if (settings === undefined) return undefined;
  const { url, authUrl, ca, applicationCredentialId, applicationCredentialSecret } = settings;
  return JSON.stringify([url, authUrl, ca, applicationCredentialId, applicationCredentialSecret.reveal()]);
}

function differencesOf(before: Config['minio'], after: Config['minio']): Replaced {
  const areKeysNew =
    before.accessKey.reveal() !== after.accessKey.reveal() ||
    before.secretKey.reveal() !== after.secretKey.reveal();
  return [...(areKeysNew ? (['keys'] as const) : []), ...(before.ca === after.ca ? [] : (['ca'] as const))];
}

/** A file that is replaced has another inode, whatever its time says. */
function stateOf(files: readonly string[]): string {
  return files
    .map((file) => {
      const found = statSync(file, { throwIfNoEntry: false, bigint: true });
      return found === undefined ? 'none' : `${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}`;
    })
    .join(', ');
}

/** Why what is new is not used, for whoever brought it. */
function keptOld(error: unknown, what: string, why = ''): ProvisionError {
  const problem = toProblem(error);
  return new ProvisionError({
    code: problem.code,
    message: `The new ${what} are not used, and those from before stay: ${describeProblem(problem)}`,
    hint: `Correct the files, then: systemctl reload libvirt-volume-provisioner.${why}`,
    cause: error,
  });
}

/**
 * Keys and certificate authority, read again while the program runs: on SIGHUP, when root hands keys over, and when
 * one of their files changes. They are used once the store has taken them. Of everything else that has changed in
 * the configuration it is only said that it needs a restart.
 */
import { statSync } from 'node:fs';
import type { ReloadResult } from '../core/reload-protocol.ts';
import { describeProblem, ProvisionError, toProblem } from '../core/errors.ts';
import type { Log } from '../provision/ports.ts';
import type { Config, Keys, LoadedConfig } from './config-file.ts';
import { settingsForRestart } from './config/changes.ts';

/** How often it is looked whether a file has changed. */
const LOOK_MS = 5_000;
/** Looks until files that have not changed are tried again, where the store could not be asked. */
const LOOKS_UNTIL_AGAIN = 6;

export interface ReloadNeeds {
  readonly running: LoadedConfig;
  /** Throws CONFIG_INVALID. */
  readonly load: (handed: Keys | undefined) => LoadedConfig;
  /** Throws why the store does not take the keys or its certificate is not accepted; then nothing has changed. */
  readonly images: { replace(minio: Config['minio']): Promise<void> };
  /** What failed for want of the right keys may be tried again. */
  readonly onReplaced: () => void;
  readonly log: Log;
}

export class ConfigReload {
  readonly #needs: ReloadNeeds;
  #read: LoadedConfig;
  #handed: Keys | undefined;
  #last: Promise<unknown> = Promise.resolve();
  /** The files as they were tried last, and as they were at the last look. */
  #tried: string;
  #seen: string;
  #looksUntilAgain = 0;

  constructor(needs: ReloadNeeds) {
    this.#needs = needs;
    this.#read = needs.running;
    this.#tried = this.#seen = stateOf(this.#read.secretFiles);
  }

  /** One after the other; `handed` are keys that stand in files which only root may read. */
  reload(handed?: Keys): Promise<ReloadResult> {
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
    const state = stateOf(this.#read.secretFiles);
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

  async #reload(handed: Keys | undefined): Promise<ReloadResult> {
    const { load, running, images, log, onReplaced } = this.#needs;
    this.#tried = stateOf(this.#read.secretFiles);
    this.#looksUntilAgain = 0;
    const read = load(handed ?? this.#handed);
    const needsRestart = settingsForRestart(running.settings, read.settings);
    if (needsRestart.length > 0) {
      log.warn({ needsRestart }, 'these settings have changed and count from the next restart on');
    }
    const replaced = differencesOf(this.#read.config, read.config);
    if (replaced.length > 0) {
      const { ca, accessKey, secretKey } = read.config.minio;
      try {
        // Where the store is, and the rest of its settings, are as they were at the start.
        await images.replace({ ...running.config.minio, ca, accessKey, secretKey });
      } catch (error) {
        if (toProblem(error).code === 'STORE_UNREACHABLE') this.#looksUntilAgain = LOOKS_UNTIL_AGAIN;
        throw keptOld(error);
      }
      log.info({ replaced }, 'taken over; the store takes them');
    }
    this.#handed = handed ?? this.#handed;
    this.#read = read;
    this.#tried = this.#seen = stateOf(read.secretFiles);
    if (replaced.length > 0) onReplaced();
    return { replaced: [...replaced], needsRestart: [...needsRestart] };
  }
}

function differencesOf({ minio: before }: Config, { minio: after }: Config): ReloadResult['replaced'] {
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

/** Why new keys are not used, for whoever brought them. */
function keptOld(error: unknown): ProvisionError {
  const problem = toProblem(error);
  return new ProvisionError({
    code: problem.code,
    message: `The new keys or certificate authority are not used, and those from before stay: ${describeProblem(problem)}`,
    hint: 'Correct the files, then: systemctl reload libvirt-volume-provisioner',
    cause: error,
  });
}

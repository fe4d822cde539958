/** Certificates and tokens are taken over as soon as their files change; broken ones are not. */
import { unwatchFile, watchFile } from 'node:fs';
import { toProblem } from '../../core/errors.ts';
import type { HttpSettings } from '../../core/settings/http-settings.ts';
import type { Clock, Log } from '../../provision/ports/host.ts';
import type { KeyFiles } from './key-files.ts';
import { readKeyFiles } from './key-files.ts';

/** Files are looked at this often: what replaces them in one piece is seen whichever way it does. */
const LOOK_MS = 2_000;

export interface KeyWatch {
  /** Reads the files again now. */
  reload(): void;
  stop(): void;
}

export interface KeyWatchOptions {
  readonly settings: HttpSettings;
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly log: Log;
  readonly take: (files: KeyFiles) => void;
  readonly lookMs?: number | undefined;
}

export function watchKeyFiles({ settings, clock, log, take, lookMs = LOOK_MS }: KeyWatchOptions): KeyWatch {
  const { tls, tokensFile } = settings;
  const paths = [tls?.certFile, tls?.keyFile, tls?.clientCaFile, tokensFile].filter(
    (path) => path !== undefined,
  );
  const reload = () => {
    try {
      const files = readKeyFiles(settings, clock.nowMs());
      take(files);
      for (const warning of files.warnings) log.warn({}, warning);
      log.info({ tokens: files.tokens.size }, 'the HTTP API has read its certificates and tokens again');
    } catch (error) {
      log.error(
        { problem: toProblem(error) },
        'the HTTP API does NOT take over its new certificates and tokens; those it had before stay in use',
      );
    }
  };
  for (const path of paths) watchFile(path, { interval: lookMs, persistent: false }, reload);
  return {
    reload,
    stop: () => {
      for (const path of paths) unwatchFile(path, reload);
    },
  };
}

/** Where others ask: people on the control socket, the hook on the gate's, and the network on the HTTP API. */
import { join } from 'node:path';
import { systemClock } from '../adapters/clock.ts';
import type { Config, LoadedConfig } from '../adapters/config-file.ts';
import { loadConfig } from '../adapters/config-file.ts';
import { ConfigReload } from '../adapters/config-reload.ts';
import { Secret } from '../adapters/config/secret.ts';
import { serveControl } from '../adapters/control-socket.ts';
import { openGateSocket } from '../adapters/gate-socket.ts';
import type { HttpApi } from '../adapters/http-api.ts';
import { openHttpApi } from '../adapters/http-api.ts';
import type { KeyProviders } from '../adapters/key/providers.ts';
import type { RotatingImages } from '../adapters/minio/rotation.ts';
import { programVersion } from '../adapters/program-version.ts';
import type { CallerVerbs } from '../provision/audit/audited-verbs.ts';
import { auditedGate, auditedVerbs } from '../provision/audit/audited-verbs.ts';
import type { AdmitNeeds } from '../provision/gate/admit-start.ts';
import { admitStart } from '../provision/gate/admit-start.ts';
import type { Log } from '../provision/ports/host.ts';
import type { AuditVerbs, SpaceVerbs } from '../provision/ports/verbs.ts';
import type { Reconciler } from '../provision/reconcile.ts';
import type { Seeing } from './seeing.ts';

export function openControl(
  { runtimeDir }: Config,
  callable: CallerVerbs,
  seeing: Pick<Seeing, 'metrics' | 'trail' | 'log'> & { readonly audit: AuditVerbs },
): ReturnType<typeof serveControl> {
  return serveControl({
    ...{ ...callable, ...seeing, path: join(runtimeDir, 'control.sock') },
    audited: (who) => auditedVerbs(callable, seeing.trail, who),
  });
}

/** Undefined where the configuration has none. It writes down by itself who asked for what. */
export async function openHttp(
  { http: settings, minio: { endpoint } }: Config,
  { jobs, verbs: domains, images }: CallerVerbs,
  {
    metrics,
    trail: audit,
    log,
    events,
    space,
  }: Seeing & {
    readonly events: AuditVerbs;
    readonly space: SpaceVerbs;
  },
): Promise<HttpApi | undefined> {
  if (settings === undefined) return undefined;
  return openHttpApi({
    ...{ settings, endpoint, jobs, domains, images, space, audit, events, metrics, log },
    ...{ clock: systemClock, version: programVersion() },
    onRequest: (...request) => {
      metrics.http.onRequest(...request);
    },
    onExpiry: (...expiry) => {
      metrics.http.setExpiry(...expiry);
    },
  });
}

/** Root hands secrets over on the gate's socket when they were changed; with them all other keys are read. */
export async function openGate(
  { runtimeDir, gate: { graceMs } }: Config,
  needs: Omit<AdmitNeeds, 'graceMs'> & Seeing,
  { reload, http }: { readonly reload: ConfigReload; readonly http: HttpApi | undefined },
): ReturnType<typeof openGateSocket> {
  const admitNeeds = { ...needs, graceMs };
  return openGateSocket({
    ...{ runtimeDir, graceMs, log: needs.log },
    admit: auditedGate(
      needs.metrics.gate.measured((operation, xml) => admitStart(admitNeeds, operation, xml)),
      needs.trail,
    ),
    reload: ({ keys, keyServerSecret }) => {
      http?.reload();
      return reload.reload({
        ...(keys && { accessKey: new Secret(keys.accessKey), secretKey: new Secret(keys.secretKey) }),
        ...(keyServerSecret === undefined ? {} : { keyServerSecret: new Secret(keyServerSecret) }),
      });
    },
  });
}

export function openReload(
  path: string,
  running: LoadedConfig,
  {
    images,
    keys,
    reconciler,
    log,
  }: {
    images: RotatingImages;
    keys: Pick<KeyProviders, 'replace'>;
    reconciler: Reconciler;
    log: Log;
  },
): ConfigReload {
  return new ConfigReload({
    ...{ running, images, keyServer: keys, log },
    load: (handed) => loadConfig({ path, handed, fromEnvironment: running.fromEnvironment }),
    onReplaced: () => {
      reconciler.pauses.tryDeniedAgain();
    },
  });
}

#!/usr/bin/env node
/** The daemon: the only place that knows all parts, with those of main/. `libvirt-volume-provisioner run` */
import { systemClock } from './adapters/clock.ts';
import type { LoadedConfig } from './adapters/config-file.ts';
import { loadConfig } from './adapters/config-file.ts';
import { watchEventLoop } from './adapters/event-loop-delay.ts';
import { FreezeFile } from './adapters/freeze-file.ts';
import { libvirtOverDbus } from './adapters/libvirt-dbus.ts';
import { openLog } from './adapters/log.ts';
import { Metrics } from './adapters/metrics.ts';
import { programVersion } from './adapters/program-version.ts';
import { keepWatchdogFed, systemdNotify } from './adapters/systemd-notify.ts';
import { openTracing } from './adapters/tracing.ts';
import { describeProblem, toProblem } from './core/errors.ts';
import { CONFIG_PATH } from './core/settings/config-path.ts';
import { checkGoldens } from './main/goldens.ts';
import { openGuestKeys, openKeys } from './main/guest-keys.ts';
import { openPrefetching } from './main/prefetching.ts';
import type { Seeing } from './main/seeing.ts';
import { openAudit, recordDaemon, recordRefusedConfig } from './main/seeing.ts';
import { openControl, openGate, openHttp, openReload } from './main/sockets.ts';
import {
  fillNeedsOf,
  nothingUnderWay,
  openLedgerOfThisBoot,
  openRecipe,
  openStores,
  openVolumes,
} from './main/stores.ts';
import { openVerbs } from './main/verbs.ts';
import { FindAudit } from './provision/audit/find-audit.ts';
import { Fills } from './provision/fill/fills.ts';
import type { GuestKeys } from './provision/keys/guest-keys.ts';
import { KnownPools } from './provision/observe.ts';
import { PoolEvents } from './provision/pools/pool-events.ts';
import { PoolKeeper } from './provision/pools/pool-keeper.ts';
import type { Log } from './provision/ports/host.ts';
import type { LibvirtEvent } from './provision/ports/libvirt.ts';
import type { Volumes } from './provision/ports/volumes.ts';
import { Reconciler } from './provision/reconcile.ts';

/** How long the gate waits for libvirt to name its pools before it goes by what was last known, in ms. */
const POOLS_LIMIT_MS = 1_000;

const USAGE = `Usage: libvirt-volume-provisioner run [--config FILE]

Fills the LVM volumes of annotated libvirt domains from images in MinIO, before they start.
Normally started by systemd: systemctl start libvirt-volume-provisioner. See lvp --help for what people call.

  --config FILE   configuration (${CONFIG_PATH})
  --version       print the version
  --help          print this
`;

interface Running {
  readonly path: string;
  readonly loaded: LoadedConfig;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Wires everything up, begins, and resolves with how to end it. */
async function run({ path, loaded, log, metrics }: Running): Promise<() => Promise<void>> {
  const { config } = loaded;
  const { ledger, damagedLedgers } = await openLedgerOfThisBoot(config, log);
  const recorded = openAudit(config, ledger.audit, log);
  const trace = await openTracing(config.tracing, { version: programVersion(), log });
  const seeing: Seeing = { metrics, log, trail: metrics.audit.counted(recorded), trace };
  const clock = systemClock;
  const freeze = new FreezeFile(path);
  let isLibvirtReachable = false;
  const libvirt = libvirtOverDbus({
    log,
    onEvent: (event) => {
      metrics.libvirt.heard(event);
      if (event.kind === 'connected') isLibvirtReachable = true;
      if (event.kind === 'disconnected') isLibvirtReachable = false;
      // The first question to the gate may come when libvirt is slow to answer.
      if (event.kind === 'connected') gatePools.list().catch(() => undefined);
      onLibvirtEvent(event, { reconciler, poolEvents, guestKeys, log });
    },
  });
  const { luks, ...opened } = openVolumes(libvirt.pools, { ledger, freeze }, seeing);
  const keys = openKeys(config, luks, metrics);
  const pools = new PoolKeeper({ ...opened, clock, log });
  const gatePools = new KnownPools(pools, clock, POOLS_LIMIT_MS);
  const stores = await openStores(config, log, metrics);
  await stores.journals.keepOnly(new Set(ledger.fills().map(({ fillId }) => fillId)));
  const fillNeeds = fillNeedsOf(config, { ...stores, ...opened, pools, luks, keys, ledger }, seeing);
  const { reservations, volumes } = fillNeeds;
  const recipe = openRecipe(fillNeeds, ledger, seeing);
  const fills = new Fills({ freeze, ledger, clock, log }, recipe, config.fills);
  const { volumeGroups, keepFree } = config;
  metrics.ask({ ledger, fills, reservations, cache: stores.cache, volumeGroups, keepFree });
  const { domains, secrets } = libvirt;
  const guestKeys = openGuestKeys({ ledger, volumes, luks, keys, domains, secrets }, seeing);
  const needs = {
    ...{ ...fillNeeds, freeze, ledger, log, fills, domains, guestKeys },
    ...{ ...nothingUnderWay(), trail: seeing.trail },
    sharedGroups: new Set(config.sharedVolumeGroups),
  };
  const reconciler = new Reconciler(needs);
  const poolEvents = poolEventsFor(reconciler);
  const prefetching = openPrefetching(config, { ...fillNeeds, fills, freeze }, seeing);
  const images = { ...fillNeeds, ...prefetching.forVerbs, log };
  const callable = openVerbs(config, { ...needs, reconciler }, { ...stores, images, damagedLedgers });
  const events = new FindAudit({ ...needs, store: recorded });
  // First, because it notices a daemon that runs already.
  const control = await openControl(config, callable, { ...seeing, audit: events });
  recordDaemon(seeing.trail, 'start');
  const http = await openHttp(config, callable, { ...seeing, events, space: reservations });
  const reload = openReload(path, loaded, { images: stores.rotating, keys, reconciler, log });
  const seen = { pools: gatePools, isLibvirtReachable: () => isLibvirtReachable };
  const gate = await openGate(config, { ...needs, ...seeing, ...seen, reconciler }, { reload, http });
  const stopReload = reload.start();
  const stopChecks = checkGoldens(config, needs);
  wakeHelper(volumes, log);
  libvirt.connection.start();
  prefetching.start();
  guestKeys.start(config.keys.recheckMs, seen.isLibvirtReachable);
  const timer = lookEvery(config.reconcile.intervalMs, seen.isLibvirtReachable, reconciler, log);
  return async () => {
    clearInterval(timer);
    stopReload();
    pools.stop();
    await http?.close();
    const works = [reconciler, fills, prefetching, guestKeys].map((work) => work.stop());
    await Promise.all([gate.close(), control.close(), stopChecks(), ...works]);
    await Promise.all([libvirt.connection.close(), trace?.close()]);
    recordDaemon(seeing.trail, 'stop');
    await recorded.close();
    ledger.close();
  };
}

function poolEventsFor(reconciler: Reconciler): PoolEvents {
  return new PoolEvents(systemClock, () => {
    reconciler.requestKnown();
  });
}

/** The first question to the gate, perhaps an autostart, shall meet a helper that is awake. */
function wakeHelper(volumes: Volumes, log: Log): void {
  volumes.list().catch((error: unknown) => {
    log.warn({ problem: toProblem(error) }, 'the helper does not answer yet');
  });
}

/** Who is told of events. */
interface Told {
  readonly reconciler: Reconciler;
  readonly poolEvents: PoolEvents;
  readonly guestKeys: GuestKeys;
  readonly log: Log;
}

/** Events are hints: they only say where to look again, and how a guest has ended. */
function onLibvirtEvent(event: LibvirtEvent, { reconciler, poolEvents, guestKeys, log }: Told): void {
  switch (event.kind) {
    case 'domain':
      if (event.mayHaveRun === true) reconciler.arrivals.mayHaveRun(event.uuid);
      reconciler.heard(event.uuid, event.change);
      return;
    case 'pool':
      poolEvents.heard();
      return;
    case 'connected':
      log.info({}, 'libvirt answers');
      reconciler.ends.forgetAll();
      guestKeys.connected();
      lookAtEverything(reconciler, log);
      return;
    case 'disconnected':
      reconciler.arrivals.loseSight();
      log.warn({ problem: event.problem }, 'libvirt does not answer');
      return;
  }
}

function lookEvery(
  intervalMs: number,
  isLibvirtReachable: () => boolean,
  reconciler: Reconciler,
  log: Log,
): NodeJS.Timeout {
  return setInterval(() => {
    if (isLibvirtReachable()) lookAtEverything(reconciler, log);
  }, intervalMs);
}

function lookAtEverything(reconciler: Reconciler, log: Log): void {
  reconciler.requestAll().catch((error: unknown) => {
    log.warn({ problem: toProblem(error) }, 'could not look at everything; it is tried again');
  });
}

async function main(words: readonly string[]): Promise<number> {
  if (words.includes('--help')) {
    process.stdout.write(USAGE);
    return 0;
  }
  if (words.includes('--version')) {
    process.stdout.write(`${programVersion()}\n`);
    return 0;
  }
  const [verb, option, path = CONFIG_PATH, ...rest] = words;
  if (verb !== 'run' || (option !== undefined && option !== '--config') || rest.length > 0) {
    process.stderr.write(USAGE);
    return 2;
  }
  const loaded = loadConfig({ path });
  const { config, warnings } = loaded;
  const log = openLog(config.log.level, config.log.format);
  for (const warning of warnings) log.warn({}, warning);
  const metrics = new Metrics(programVersion());
  const stop = await run({ path, loaded, log, metrics });
  const stopWatchdog = keepWatchdogFed(log);
  const stopWatchingLoop = watchEventLoop(log, undefined, metrics.program.delayed);
  await systemdNotify(log, '--ready');
  log.info({ volumeGroups: config.volumeGroups, endpoint: config.minio.endpoint.href }, 'running');
  const signal = await new Promise<string>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  log.info({ signal }, 'stopping');
  stopWatchdog();
  stopWatchingLoop();
  await systemdNotify(log, 'STOPPING=1');
  await stop();
  return 0;
}

main(process.argv.slice(2)).then(
  (exitCode) => {
    process.exitCode = exitCode;
  },
  async (error: unknown) => {
    const problem = toProblem(error);
    process.stderr.write(`libvirt-volume-provisioner: ${describeProblem(problem)}\n`);
    if (problem.code === 'INTERNAL' && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`);
    const log = openLog('silent', 'json');
    await systemdNotify(log, `STATUS=${problem.message.split('\n')[0] ?? ''}`);
    if (problem.code === 'CONFIG_INVALID') await recordRefusedConfig(problem, log);
    // Whatever has been opened by then must not keep the process alive.
    process.exit(problem.code === 'CONFIG_INVALID' ? 78 : 1);
  },
);

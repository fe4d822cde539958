#!/usr/bin/env node
/** The daemon: the only place that knows all parts. `libvirt-volume-provisioner run` */
import { join } from 'node:path';
import { BlockDevices } from './adapters/block-device.ts';
import { readBootId } from './adapters/boot-id.ts';
import { systemClock } from './adapters/clock.ts';
import { ConfigReload } from './adapters/config-reload.ts';
import type { Config, LoadedConfig } from './adapters/config-file.ts';
import { loadConfig } from './adapters/config-file.ts';
import { Secret } from './adapters/config/secret.ts';
import { SystemDecompressors } from './adapters/decompressors.ts';
import { serveControl } from './adapters/control-socket.ts';
import { watchEventLoop } from './adapters/event-loop-delay.ts';
import { FreezeFile } from './adapters/freeze-file.ts';
import { JournalFolder } from './adapters/fill-journals.ts';
import { openGateSocket } from './adapters/gate-socket.ts';
import { ImageFolder } from './adapters/image-cache.ts';
import { findDamagedLedgers, openLedger } from './adapters/ledger.ts';
import { libvirtOverDbus } from './adapters/libvirt-dbus.ts';
import { openLog } from './adapters/log.ts';
import { LvmHelper } from './adapters/lvm-helper.ts';
import { programVersion } from './adapters/program-version.ts';
import { RotatingImages } from './adapters/minio-rotation.ts';
import { keepWatchdogFed, systemdNotify } from './adapters/systemd-notify.ts';
import { WorkerThreads } from './adapters/threads.ts';
import { CONFIG_PATH } from './core/config-path.ts';
import { describeProblem, toProblem } from './core/errors.ts';
import type { AdmitNeeds } from './provision/admit-start.ts';
import { admitStart } from './provision/admit-start.ts';
import { GarbageCollector } from './provision/collect-garbage.ts';
import { DomainVerbs } from './provision/control-verbs.ts';
import { fillVolume } from './provision/fill-volume.ts';
import { Fills } from './provision/fills.ts';
import { CachedImageVerbs } from './provision/image-verbs.ts';
import { KnownPools } from './provision/observe.ts';
import { PoolEvents } from './provision/pool-events.ts';
import { PoolKeeper } from './provision/pool-keeper.ts';
import type { LibvirtEvent, Log } from './provision/ports.ts';
import { Reconciler } from './provision/reconcile.ts';
import { Reservations } from './provision/reservations.ts';
import { wishMissedAutostarts } from './provision/start-wishes.ts';
import { takingTurns } from './provision/taking-turns.ts';
import { refusingWhileFrozen } from './provision/while-frozen.ts';
import { WriteRate } from './provision/write-rate.ts';

/** How long the gate waits for libvirt to name its pools before it goes by what was last known, in ms. */
const POOLS_LIMIT_MS = 1_000;

const USAGE = `Usage: libvirt-volume-provisioner run [--config FILE]

Fills the LVM volumes of annotated libvirt domains from images in MinIO, before they start.
Normally started by systemd: systemctl start libvirt-volume-provisioner. See lvp --help for what people call.

  --config FILE   configuration (${CONFIG_PATH})
  --version       print the version
  --help          print this
`;

/** Wires everything up, begins, and resolves with how to end it. */
async function run(path: string, loaded: LoadedConfig, log: Log): Promise<() => Promise<void>> {
  const { config } = loaded;
  const { ledger, damagedLedgers } = await openLedgerOfThisBoot(config, log);
  const clock = systemClock;
  let isLibvirtReachable = false;
  const libvirt = libvirtOverDbus({
    log,
    onEvent: (event) => {
      if (event.kind === 'connected') isLibvirtReachable = true;
      if (event.kind === 'disconnected') isLibvirtReachable = false;
      // The first question to the gate may come when libvirt is slow to answer.
      if (event.kind === 'connected') gatePools.list().catch(() => undefined);
      onLibvirtEvent(event, reconciler, poolEvents, log);
    },
  });
  const { domains } = libvirt;
  const freeze = new FreezeFile(path);
  const turns = takingTurns(new LvmHelper(), libvirt.pools);
  const { volumes, pools: unwatched } = refusingWhileFrozen(freeze, turns);
  const pools = new PoolKeeper({ pools: unwatched, volumes, clock, log });
  const gatePools = new KnownPools(pools, clock, POOLS_LIMIT_MS);
  const stores = await openStores(config, log);
  await stores.journals.keepOnly(new Set(ledger.fills().map(({ fillId }) => fillId)));
  const { readBack } = config.verify;
  const { workshops, hostPolicy } = stores;
  const devices = new BlockDevices({ zero: (...range) => workshops.zero(...range) });
  const reservations = new Reservations({ volumes, log, keepFree: config.keepFree });
  const { writeRateMaxBytesPerS } = config;
  const writeRate = writeRateMaxBytesPerS === 0 ? undefined : new WriteRate(clock, writeRateMaxBytesPerS);
  const fillNeeds = { ...stores, devices, pools, volumes, reservations, clock, readBack, writeRate };

  const fills = new Fills(
    { freeze, ledger, clock, log },
    (record, task, fill) => fillVolume(fillNeeds, record, task, fill),
    config.fills,
  );
  const needs = {
    ...{ freeze, ledger, clock, log, volumes, reservations, pools, domains, fills },
    ...{ firstStarts: new Map<string, string>(), retiring: new Set<string>(), hostPolicy },
    sharedGroups: new Set(config.sharedVolumeGroups),
  };
  const reconciler = new Reconciler(needs);
  const poolEvents = new PoolEvents(clock, () => {
    reconciler.requestKnown();
  });
  const reload = openReload(path, loaded, { ...stores, reconciler, log });
  // First, because it notices a daemon that runs already.
  const control = await serveControl({
    path: join(config.runtimeDir, 'control.sock'),
    verbs: new DomainVerbs({ ...needs, ...config.limits, reconciler, devices }),
    images: new CachedImageVerbs({ ...fillNeeds, log }),
    garbage: new GarbageCollector({ ...needs, reconciler, cache: stores.cache, damagedLedgers }),
    log,
  });
  const isReachable = { isLibvirtReachable: () => isLibvirtReachable };
  const gate = await openGate(config, { ...needs, ...isReachable, pools: gatePools, reconciler }, reload);
  const stopReload = reload.start();
  // The first question to the gate, perhaps an autostart, shall meet a helper that is awake.
  volumes.list().catch((error: unknown) => {
    log.warn({ problem: toProblem(error) }, 'the helper does not answer yet');
  });
  libvirt.connection.start();
  const timer = setInterval(() => {
    if (isLibvirtReachable) lookAtEverything(reconciler, log);
  }, config.reconcile.intervalMs);
  return async () => {
    clearInterval(timer);
    stopReload();
    pools.stop();
    await Promise.all([gate.close(), control.close(), reconciler.stop(), fills.stop()]);
    await libvirt.connection.close();
    ledger.close();
  };
}

function openReload(
  path: string,
  running: LoadedConfig,
  { images, reconciler, log }: { images: RotatingImages; reconciler: Reconciler; log: Log },
): ConfigReload {
  return new ConfigReload({
    ...{ running, images, log },
    load: (handed) => loadConfig({ path, handed, fromEnvironment: running.fromEnvironment }),
    onReplaced: () => {
      reconciler.tryDeniedAgain();
    },
  });
}

async function openGate(
  { runtimeDir, gate: { graceMs } }: Config,
  needs: Omit<AdmitNeeds, 'graceMs'>,
  reload: ConfigReload,
): ReturnType<typeof openGateSocket> {
  const admitNeeds = { ...needs, graceMs };
  return openGateSocket({
    ...{ runtimeDir, graceMs, log: needs.log },
    admit: (operation, xml) => admitStart(admitNeeds, operation, xml),
    reload: ({ keys }) =>
      reload.reload(keys && { accessKey: new Secret(keys.accessKey), secretKey: new Secret(keys.secretKey) }),
  });
}

async function openLedgerOfThisBoot({ stateDir }: Config, log: Log) {
  const file = join(stateDir, 'ledger.db');
  const { ledger, setAside } = openLedger(file);
  if (setAside !== undefined)
    log.error({ setAside }, 'the ledger was damaged and begun anew; tags say what volumes hold');
  try {
    wishMissedAutostarts({ boots: ledger, ledger }, await readBootId());
  } catch (error) {
    log.warn({ problem: toProblem(error) }, 'autostarts that were refused at boot are not made good');
  }
  return { ledger, damagedLedgers: () => findDamagedLedgers(file) };
}

/** Where images come from, what is kept of them on this host, and what it lets be made of them. */
async function openStores(config: Config, log: Log) {
  const {
    stateDir,
    limits,
    cache: { sizeMaxBytes: budgetBytes },
  } = config;
  const images = new RotatingImages(config.minio);
  const cache = new ImageFolder({ folder: join(stateDir, 'cache'), store: images, log, budgetBytes });
  await cache.open();
  return {
    ...{ images, cache, journals: new JournalFolder(join(stateDir, 'journals')) },
    decompressors: new SystemDecompressors(),
    workshops: new WorkerThreads(),
    hostPolicy: config.hostPolicy,
    policy: {
      ...config.integrity,
      buckets: config.minio.buckets,
      virtualSizeMaxBytes: limits.virtualSizeMaxBytes,
      expansion: { ratioMax: limits.expansionMax, timeMaxMs: limits.decompressionTimeMaxMs },
    },
  };
}

/** Events are hints: they only say where to look again, and how a guest has ended. */
function onLibvirtEvent(event: LibvirtEvent, reconciler: Reconciler, poolEvents: PoolEvents, log: Log): void {
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
      lookAtEverything(reconciler, log);
      return;
    case 'disconnected':
      reconciler.arrivals.loseSight();
      log.warn({ problem: event.problem }, 'libvirt does not answer');
      return;
  }
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
  const stop = await run(path, loaded, log);
  const stopWatchdog = keepWatchdogFed(log);
  const stopWatchingLoop = watchEventLoop(log);
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
    // Whatever has been opened by then must not keep the process alive.
    process.exit(problem.code === 'CONFIG_INVALID' ? 78 : 1);
  },
);

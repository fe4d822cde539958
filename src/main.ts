#!/usr/bin/env node
/** The daemon: the only place that knows all parts. `libvirt-volume-provisioner run` */
import { join } from 'node:path';
import { RecordedAudit } from './adapters/audit-trail.ts';
import { JournalStream } from './adapters/audit/journal-stream.ts';
import { BlockDevices } from './adapters/block-device.ts';
import { readBootId } from './adapters/boot-id.ts';
import { systemClock } from './adapters/clock.ts';
import type { Config } from './adapters/config-file.ts';
import { loadConfig } from './adapters/config-file.ts';
import { SystemDecompressors } from './adapters/decompressors.ts';
import { serveControl } from './adapters/control-socket.ts';
import { watchEventLoop } from './adapters/event-loop-delay.ts';
import { JournalFolder } from './adapters/fill-journals.ts';
import { openGateSocket } from './adapters/gate-socket.ts';
import { ImageFolder } from './adapters/image-cache.ts';
import { findDamagedLedgers, openLedger } from './adapters/ledger.ts';
import { libvirtOverDbus } from './adapters/libvirt-dbus.ts';
import { openLog } from './adapters/log.ts';
import { LvmHelper } from './adapters/lvm-helper.ts';
import { Metrics } from './adapters/metrics.ts';
import { openMinio } from './adapters/minio-images.ts';
import { programVersion } from './adapters/program-version.ts';
import { keepWatchdogFed, systemdNotify } from './adapters/systemd-notify.ts';
import { WorkerThreads } from './adapters/threads.ts';
import { AUDIT_IDENTIFIER } from './core/audit-event.ts';
import { CONFIG_PATH } from './core/config-path.ts';
import type { Problem } from './core/errors.ts';
import { describeProblem, toProblem } from './core/errors.ts';
import type { AdmitNeeds } from './provision/admit-start.ts';
import { admitStart } from './provision/admit-start.ts';
import { auditedFills, auditedPools, auditedVolumes } from './provision/audited-effects.ts';
import type { CallerVerbs } from './provision/audited-verbs.ts';
import { auditedGate, auditedVerbs, newCorrelationId } from './provision/audited-verbs.ts';
import { GarbageCollector } from './provision/collect-garbage.ts';
import { DomainVerbs } from './provision/control-verbs.ts';
import { fillVolume } from './provision/fill-volume.ts';
import { Fills } from './provision/fills.ts';
import { FindAudit } from './provision/find-audit.ts';
import { CachedImageVerbs } from './provision/image-verbs.ts';
import { KnownPools } from './provision/observe.ts';
import { PoolEvents } from './provision/pool-events.ts';
import { PoolKeeper } from './provision/pool-keeper.ts';
import type {
  AuditStore,
  AuditTrail,
  AuditVerbs,
  Ledger,
  LibvirtEvent,
  Log,
  Pools,
  Volumes,
} from './provision/ports.ts';
import { Reconciler } from './provision/reconcile.ts';
import { Reservations } from './provision/reservations.ts';
import { wishMissedAutostarts } from './provision/start-wishes.ts';
import { takingTurns } from './provision/taking-turns.ts';
import { watchedFill } from './provision/watched-fill.ts';
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

/** Whoever is told what happens. */
interface Seeing {
  readonly metrics: Metrics;
  readonly trail: AuditTrail;
  readonly log: Log;
}

/** Wires everything up, begins, and resolves with how to end it. */
async function run(config: Config, log: Log, metrics: Metrics): Promise<() => Promise<void>> {
  const { ledger, damagedLedgers } = await openLedgerOfThisBoot(config, log);
  const clock = systemClock;
  const recorded = openAudit(config, ledger.audit, log);
  const seeing = { metrics, log, trail: metrics.audit.counted(recorded) };
  let isLibvirtReachable = false;
  const libvirt = libvirtOverDbus({
    log,
    onEvent: (event) => {
      metrics.libvirt.heard(event);
      if (event.kind === 'connected') isLibvirtReachable = true;
      if (event.kind === 'disconnected') isLibvirtReachable = false;
      // The first question to the gate may come when libvirt is slow to answer.
      if (event.kind === 'connected') gatePools.list().catch(() => undefined);
      onLibvirtEvent(event, reconciler, poolEvents, log);
    },
  });
  const { domains } = libvirt;
  const { volumes, pools: unwatched } = openVolumes(libvirt.pools, ledger, seeing);
  const pools = new PoolKeeper({ pools: unwatched, volumes, clock, log });
  const gatePools = new KnownPools(pools, clock, POOLS_LIMIT_MS);
  const stores = await openStores(config, log, metrics);
  await stores.journals.keepOnly(new Set(ledger.fills().map(({ fillId }) => fillId)));
  const fillNeeds = fillNeedsOf(config, { ...stores, pools, volumes }, seeing);
  const { hostPolicy, devices, reservations } = fillNeeds;
  const recipe = watchedFill(
    (record, task, fill) => fillVolume(fillNeeds, record, task, fill),
    [metrics.fills, auditedFills(seeing.trail)],
  );
  const fills = new Fills({ ledger, clock, log }, recipe, config.fills);
  metrics.ask({ ...{ ledger, fills, reservations, cache: stores.cache }, volumeGroups: config.volumeGroups });
  const needs = {
    ...{ ledger, clock, log, volumes, reservations, pools, domains, fills },
    ...{ firstStarts: new Map<string, string>(), retiring: new Set<string>(), hostPolicy },
    sharedGroups: new Set(config.sharedVolumeGroups),
  };
  const reconciler = new Reconciler(needs);
  const poolEvents = new PoolEvents(clock, () => {
    reconciler.requestKnown();
  });
  // First, because it notices a daemon that runs already.
  const control = await openControl(
    config,
    {
      verbs: new DomainVerbs({ ...needs, ...config.limits, reconciler, devices }),
      images: new CachedImageVerbs({ ...fillNeeds, log }),
      garbage: new GarbageCollector({ ...needs, reconciler, cache: stores.cache, damagedLedgers }),
    },
    { ...seeing, audit: new FindAudit({ store: recorded, ledger, domains }) },
  );
  recordDaemon(seeing.trail, 'start');
  const gate = await openGate(config, {
    ...{ ...needs, ...seeing, pools: gatePools, reconciler },
    isLibvirtReachable: () => isLibvirtReachable,
  });
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
    pools.stop();
    await Promise.all([gate.close(), control.close(), reconciler.stop(), fills.stop()]);
    await libvirt.connection.close();
    recordDaemon(seeing.trail, 'stop');
    await recorded.close();
    ledger.close();
  };
}

/** The helper's verbs and libvirt's pools: counted, written down, and taking turns. */
function openVolumes(
  pools: Pools,
  ledger: Ledger,
  { metrics, trail }: Seeing,
): ReturnType<typeof takingTurns> {
  const helper = auditedVolumes(metrics.helper.measured(new LvmHelper()), trail);
  return takingTurns(helper, auditedPools(pools, trail, ledger));
}

/** What the recipe of a fill works with, but for what it fills. */
function fillNeedsOf<Parts extends { readonly workshops: WorkerThreads; readonly volumes: Volumes }>(
  config: Config,
  parts: Parts,
  { metrics, log }: Seeing,
) {
  const { workshops, volumes } = parts;
  const blockDevices = new BlockDevices({ zero: (...range) => workshops.zero(...range) });
  const { writeRateMaxBytesPerS: rate } = config;
  return {
    ...parts,
    clock: systemClock,
    readBack: config.verify.readBack,
    devices: metrics.volumes.measured(blockDevices),
    reservations: new Reservations({ volumes, log, keepFree: config.keepFree }),
    writeRate: rate === 0 ? undefined : new WriteRate(systemClock, rate),
  };
}

function openControl(
  { runtimeDir }: Config,
  callable: CallerVerbs,
  seeing: Seeing & { readonly audit: AuditVerbs },
): ReturnType<typeof serveControl> {
  return serveControl({
    ...{ ...callable, ...seeing, path: join(runtimeDir, 'control.sock') },
    audited: (who) => auditedVerbs(callable, seeing.trail, who),
  });
}

async function openGate(
  { runtimeDir, gate: { graceMs } }: Config,
  needs: Omit<AdmitNeeds, 'graceMs'> & Seeing,
): ReturnType<typeof openGateSocket> {
  const admitNeeds = { ...needs, graceMs };
  return openGateSocket({
    ...{ runtimeDir, graceMs, log: needs.log },
    admit: auditedGate(
      needs.metrics.gate.measured((operation, xml) => admitStart(admitNeeds, operation, xml)),
      needs.trail,
    ),
  });
}

function openAudit({ minio }: Config, store: AuditStore, log: Log): RecordedAudit {
  const journal = new JournalStream({ identifier: AUDIT_IDENTIFIER, log });
  const secrets = [minio.accessKey.reveal(), minio.secretKey.reveal()];
  return new RecordedAudit({ journal, store, clock: systemClock, log, secrets });
}

function recordDaemon(trail: AuditTrail, what: 'start' | 'stop'): void {
  const event = { who: 'daemon', what: `daemon ${what}`, correlationId: newCorrelationId() };
  trail.record({ ...event, decision: 'allowed', outcome: 'done' });
}

/** Without a configuration there is no ledger: the journal alone is told. */
async function recordRefusedConfig({ code, message }: Problem, log: Log): Promise<void> {
  const journal = new JournalStream({ identifier: AUDIT_IDENTIFIER, log });
  const trail = new RecordedAudit({ journal, clock: systemClock, log });
  const event = { who: 'daemon', what: 'configuration', correlationId: newCorrelationId() };
  trail.record({ ...event, decision: 'denied', outcome: 'refused', problem: { code, message } });
  await trail.close();
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
async function openStores(config: Config, log: Log, metrics: Metrics) {
  const {
    stateDir,
    limits,
    cache: { sizeMaxBytes: budgetBytes },
  } = config;
  const images = metrics.images.measuredStore(openMinio(config.minio));
  const folder = new ImageFolder({
    ...{ folder: join(stateDir, 'cache'), store: images, log, budgetBytes },
    onEvicted: metrics.images.evicted,
  });
  await folder.open();
  const cache = metrics.images.measuredCache(folder);
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
  const { config, warnings } = loadConfig({ path });
  const log = openLog(config.log.level, config.log.format);
  for (const warning of warnings) log.warn({}, warning);
  const metrics = new Metrics(programVersion());
  const stop = await run(config, log, metrics);
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

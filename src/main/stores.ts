/** What is there before anything is done: the ledger, images, and what fills work with. */
import { join } from 'node:path';
import { BlockDevices } from '../adapters/block-device.ts';
import { readBootId } from '../adapters/boot-id.ts';
import { systemClock } from '../adapters/clock.ts';
import type { Config } from '../adapters/config-file.ts';
import { SystemDecompressors } from '../adapters/decompressors.ts';
import { JournalFolder } from '../adapters/fill-journals.ts';
import { ImageFolder } from '../adapters/image-cache.ts';
import { findDamagedLedgers, openLedger } from '../adapters/ledger.ts';
import { LvmHelper } from '../adapters/lvm-helper.ts';
import type { Metrics } from '../adapters/metrics.ts';
import { RotatingImages } from '../adapters/minio/rotation.ts';
import { PrefetchFile } from '../adapters/prefetch-file.ts';
import { WorkerThreads } from '../adapters/threads.ts';
import { toProblem } from '../core/errors.ts';
import {
  auditedFills,
  auditedLuks,
  auditedPools,
  auditedVolumes,
} from '../provision/audit/audited-effects.ts';
import { tracedFill, tracedVolumes } from '../provision/fill/traced-fill.ts';
import type { FillNeeds } from '../provision/fill/fill-volume.ts';
import { fillVolume } from '../provision/fill/fill-volume.ts';
import type { FillVolume } from '../provision/fill/fills.ts';
import { goldenAhead } from '../provision/golden/golden-ahead.ts';
import type { GoldenNeeds } from '../provision/golden/golden-volumes.ts';
import { GoldenVolumes } from '../provision/golden/golden-volumes.ts';
import type { Freeze, Log } from '../provision/ports/host.ts';
import type { KeyFiles, Keys } from '../provision/ports/keys.ts';
import type { Ledger } from '../provision/ports/ledger.ts';
import type { Pools } from '../provision/ports/libvirt.ts';
import type { LuksVolumes } from '../provision/ports/volumes.ts';
import { PrefetchedImages } from '../provision/images/prefetched-images.ts';
import { RecentListing } from '../provision/recent-listing.ts';
import { Reservations } from '../provision/reservations.ts';
import { wishMissedAutostarts } from '../provision/gate/start-wishes.ts';
import { takingTurns } from '../provision/pools/taking-turns.ts';
import { ThinPoolNews } from '../provision/golden/thin-pool-news.ts';
import { WarmImages } from '../provision/images/warm-images.ts';
import { watchedFill } from '../provision/fill/watched-fill.ts';
import { luksRefusingWhileFrozen, refusingWhileFrozen } from '../provision/while-frozen.ts';
import { WriteRate } from '../provision/stream/write-rate.ts';
import type { Seeing } from './seeing.ts';

/** What the parts of one daemon tell each other of, and no file keeps. */
export function nothingUnderWay() {
  return {
    firstStarts: new Map<string, string>(),
    retiring: new Set<string>(),
    changingKeys: new Set<string>(),
  };
}

export async function openLedgerOfThisBoot({ stateDir }: Config, log: Log) {
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
export async function openStores(config: Config, log: Log, metrics: Metrics) {
  const {
    stateDir,
    limits,
    cache: { sizeMaxBytes: budgetBytes },
    prefetch: { rules },
  } = config;
  const rotating = new RotatingImages(config.minio);
  const images = metrics.images.measuredStore(rotating);
  // Before the cache looks for what may go.
  const prefetched = new PrefetchedImages(new PrefetchFile(join(stateDir, 'prefetched.json')), rules, log);
  await prefetched.open();
  const folder = new ImageFolder({
    ...{ folder: join(stateDir, 'cache'), store: images, log, budgetBytes },
    onEvicted: metrics.images.evicted,
    isPinned: (sha256) => prefetched.isPinned(sha256),
  });
  await folder.open();
  const cache = metrics.images.measuredCache(folder);
  return {
    warm: new WarmImages(cache, prefetched),
    ...{ rotating, buckets: rotating, images, cache, prefetched },
    journals: new JournalFolder(join(stateDir, 'journals')),
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

/** The helper's verbs and libvirt's pools: counted, written down, taking turns, and still while the host is frozen. */
export function openVolumes(
  libvirtPools: Pools,
  { ledger, freeze }: { readonly ledger: Ledger; readonly freeze: Freeze },
  { metrics, trail, trace }: Seeing,
): ReturnType<typeof takingTurns> & {
  readonly luks: LuksVolumes & KeyFiles;
  readonly recentListing: RecentListing;
} {
  const whole = new LvmHelper();
  const audited = auditedVolumes(metrics.helper.measured(whole), trail);
  const helper = trace === undefined ? audited : tracedVolumes(audited, trace);
  const turns = takingTurns(helper, auditedPools(libvirtPools, trail, ledger));
  const measured = metrics.helper.measuredLuks(whole.luks);
  const luks = luksRefusingWhileFrozen(freeze, auditedLuks(measured, trail));
  const { volumes, pools } = refusingWhileFrozen(freeze, turns);
  const recentListing = new RecentListing(volumes, systemClock);
  return {
    ...{ volumes: recentListing.volumes, pools, recentListing },
    luks: { ...luks, readKey: (name) => measured.readKey(name) },
  };
}

/** What fills and golden volumes need and is not made here. */
type FillParts = Omit<
  GoldenNeeds,
  | 'clock'
  | 'devices'
  | 'goldenMax'
  | 'isGoldenPinned'
  | 'log'
  | 'reservations'
  | 'thinPools'
  | 'watch'
  | 'workshops'
> & {
  readonly workshops: WorkerThreads;
  readonly prefetched: PrefetchedImages;
  readonly luks: LuksVolumes;
  readonly keys: Keys;
};

/** What the recipe of a fill works with, but for what it fills. */
export function fillNeedsOf<Parts extends FillParts>(config: Config, parts: Parts, seeing: Seeing) {
  const { workshops, volumes, recentListing, prefetched } = parts;
  const { metrics, log } = seeing;
  const blockDevices = new BlockDevices({ zero: (...range) => workshops.zero(...range) });
  const { writeRateMaxBytesPerS: rate } = config;
  const { goldenMax, keepFree, thin: thinLimits, thinPools } = config;
  const needs = {
    ...{ ...parts, thinPools, thinPoolNews: new ThinPoolNews(thinLimits, log) },
    clock: systemClock,
    readBack: config.verify.readBack,
    devices: metrics.volumes.measured(blockDevices),
    reservations: new Reservations({ volumes, recentListing, log, keepFree, thinLimits }),
    writeRate: rate === 0 ? undefined : new WriteRate(systemClock, rate),
  };
  const goldens = new GoldenVolumes({
    ...{ ...needs, log, goldenMax, watch: metrics.goldens },
    isGoldenPinned: ({ seal }) => prefetched.mayPin(seal),
  });
  return { ...needs, goldens, golden: goldenAhead(goldens, thinPools, log) };
}

/** The recipe of a fill with all who look on. */
export function openRecipe(
  needs: FillNeeds,
  ledger: Pick<Ledger, 'jobOf'>,
  { metrics, trail, trace }: Seeing,
): FillVolume {
  const recipe = watchedFill(
    (record, task, run) => fillVolume(needs, record, task, run),
    [metrics.fills, auditedFills(trail)],
  );
  return trace === undefined ? recipe : tracedFill(recipe, trace, ledger);
}

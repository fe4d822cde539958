/** Goal: the metrics say what went through the ports, in base units, and no name that a guest or a caller makes up. */
import { beforeEach, describe, expect, it } from 'vitest';
import { Metrics } from '../../src/adapters/metrics.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import type { ThinPool } from '../../src/core/volume/volume.ts';
import type { CachedImage, ImageCache, ImageLease } from '../../src/provision/ports/image-cache.ts';
import type { ImageObject, Images } from '../../src/provision/ports/images.ts';
import type { FillRecord } from '../../src/provision/ports/ledger.ts';
import type { VolumeDevice, Volumes } from '../../src/provision/ports/volumes.ts';
import { SEAL } from '../cli/fake-verbs.ts';

let metrics: Metrics;

beforeEach(() => {
  metrics = new Metrics('1.2.3');
});

/** The value of one line of the text, by its name with labels; undefined if there is none. */
async function valueOf(name: string): Promise<number | undefined> {
  const line = (await metrics.render()).split('\n').find((one) => one.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.slice(name.length + 1));
}

async function valuesOf(...names: readonly string[]): Promise<(number | undefined)[]> {
  return Promise.all(names.map(valueOf));
}

const failing = () => Promise.reject(new ProvisionError({ code: 'TIMEOUT', message: 'late' }));
const record: FillRecord = {
  ...{ fillId: SEAL.fillId, domainUuid: SEAL.domainUuid, domainName: 'secretive', state: 'failed' },
  request: { target: 'vda', image: { bucket: 'private', key: 'a' }, format: 'raw', generation: 1 },
  location: { pool: 'guests', vg: 'vg0', lv: 'payroll' },
  ...{ attempts: 1, createdAtMs: 1, updatedAtMs: 1, problem: { code: 'VG_FULL', message: 'full' } },
};
const object: ImageObject = { image: { bucket: 'private', key: 'a' }, sizeBytes: 300, etag: 'x' };
const options = { signal: new AbortController().signal };

const images: Images = {
  stat: () => Promise.resolve(object),
  readInto: (_object, _offset, target, { onBytes }) => {
    onBytes?.(target.length);
    return Promise.resolve();
  },
  readText: failing,
};

describe('fills', () => {
  it('are counted by their end, their phases timed, and called jobs as before', async () => {
    metrics.fills.begun(record, true);
    metrics.fills.entered(record, 'filling');
    metrics.fills.entered(record, 'publishing');
    metrics.fills.ended(record, true, { how: 'published' });
    metrics.fills.begun(record, true);
    metrics.fills.ended(record, true, { how: 'failed', problem: { code: 'VG_FULL', message: '' } });
    metrics.fills.begun(record, false);
    metrics.fills.ended(record, false, { how: 'published' });
    expect(
      await valuesOf(
        'lvp_fills_begun_total',
        'lvp_fills_ended_total{outcome="published",reason=""}',
        'lvp_fills_ended_total{outcome="failed",reason="VG_FULL"}',
        'lvp_fill_phase_duration_seconds_count{phase="resolving"}',
        'lvp_fill_phase_duration_seconds_count{phase="publishing"}',
        'lvp_fill_duration_seconds_count{outcome="published"}',
        'libvirt_volume_provisioner_jobs_total{status="started"}',
        'libvirt_volume_provisioner_jobs_total{status="completed"}',
        'libvirt_volume_provisioner_jobs_total{status="failed"}',
      ),
    ).toEqual([2, 1, 1, 2, 1, 1, 2, 1, 1]);
  });

  it('are asked for at each reading', async () => {
    const cached: CachedImage = {
      sha256: 'a',
      sizeBytes: 70,
      image: 'private/a',
      usedAtMs: 1,
      inUse: false,
      pinned: false,
    };
    metrics.ask({
      ledger: {
        fills: () => [
          record,
          { ...record, state: 'ready' },
          { ...record, state: 'filling', domainUuid: 'job:1' },
        ],
        jobCounts: () => [
          { end: 'none', reason: '', count: 3 },
          { end: 'completed', reason: '', count: 5 },
          { end: 'failed', reason: 'VG_FULL', count: 2 },
        ],
      },
      keepFree: new Map(),
      fills: { queuedCount: 3, activeCount: 2 },
      cache: { budgetBytes: 100, list: () => Promise.resolve([cached]) },
      reservations: { reservedBytes: () => new Map([['vg0', 7]]) },
      volumeGroups: ['vg0', 'vg1'],
    });
    expect(
      await valuesOf(
        'lvp_fills{state="failed",reason="VG_FULL"}',
        'lvp_fills{state="ready",reason=""}',
        'lvp_jobs{state="running",reason=""}',
        'lvp_jobs{state="pending",reason=""}',
        'lvp_jobs{state="completed",reason=""}',
        'lvp_jobs{state="failed",reason="VG_FULL"}',
        'lvp_fills_queued',
        'lvp_fills_active',
        'libvirt_volume_provisioner_active_jobs',
        'lvp_cache_size_bytes',
        'lvp_cache_limit_bytes',
        'lvp_volume_group_reserved_bytes{vg="vg0"}',
        'lvp_volume_group_reserved_bytes{vg="vg1"}',
      ),
    ).toEqual([1, 1, 1, 2, 5, 2, 3, 2, 2, 70, 100, 7, 0]);
    expect(await metrics.render()).not.toMatch(/private|payroll|secretive/);
  });
});

describe('what goes through the ports', () => {
  it('to the helper: how long, how it ended, and the volume groups as it saw them last', async () => {
    const groups = [{ vg: 'vg0', sizeBytes: 100, freeBytes: 40, extentBytes: 1, shared: false }];
    const thinPool: ThinPool = {
      ...{ vg: 'vg0', lv: 'pool0', sizeBytes: 90, usedBytes: 30, metadataBytes: 9, metadataUsedBytes: 3 },
      ...{ chunkBytes: 4, zeroes: true, active: true },
    };
    const thin = {
      ...{ vg: 'vg0', lv: 'vm1', uuid: 'u', sizeBytes: 10, tags: [], active: true, open: false },
      ...{ segmentType: 'thin', thinPool: 'pool0', writable: true },
    };
    const listing = { volumes: [thin], groups, thinPools: [thinPool] };
    const volumes = { list: () => Promise.resolve(listing), retire: failing };
    const measured = metrics.helper.measured(volumes as unknown as Volumes);
    metrics.helper.ask({ keepFree: new Map([['vg0', { percent: 10 }]]) });
    await measured.list();
    await expect(measured.retire('vg0', SEAL)).rejects.toThrow();
    expect(
      await valuesOf(
        'lvp_helper_call_duration_seconds_count{verb="list",outcome="done"}',
        'lvp_helper_call_duration_seconds_count{verb="retire",outcome="failed"}',
        'lvp_helper_errors_total{verb="retire",reason="TIMEOUT"}',
        'lvp_volume_group_size_bytes{vg="vg0"}',
        'lvp_volume_group_free_bytes{vg="vg0"}',
        'lvp_volume_group_keep_free_bytes{vg="vg0"}',
        ...['size', 'used', 'promised', 'metadata_size', 'metadata_used'].map(
          (what) => `lvp_thin_pool_${what}_bytes{vg="vg0",pool="pool0"}`,
        ),
        'lvp_thin_pool_unhealthy{vg="vg0",pool="pool0"}',
      ),
    ).toEqual([1, 1, 1, 100, 40, 10, 90, 30, 12, 9, 3, 0]);
    listing.thinPools = [{ ...thinPool, health: 'needs_check' }];
    await measured.list();
    expect(await valuesOf('lvp_thin_pool_unhealthy{vg="vg0",pool="pool0"}')).toEqual([1]);
  });

  it('to golden volumes: made, cloned, dropped, missed and checked', async () => {
    metrics.goldens.made();
    metrics.goldens.cloned();
    metrics.goldens.dropped('damaged');
    metrics.goldens.missed();
    metrics.goldens.checked('sound');
    expect(
      await valuesOf(
        'lvp_golden_made_total',
        'lvp_golden_clones_total',
        'lvp_golden_dropped_total{why="damaged"}',
        'lvp_golden_missed_total',
        'lvp_golden_checks_total{result="sound"}',
      ),
    ).toEqual([1, 1, 1, 1, 1]);
  });

  it('from store and cache: bytes, hits, misses, evictions and errors', async () => {
    const store = metrics.images.measuredStore(images);
    let heard = 0;
    const onBytes = (count: number) => (heard += count);
    await store.readInto(object, 0, new Uint8Array(10), { ...options, onBytes });
    await expect(store.readText(object.image)).rejects.toThrow();
    const lease = { from: 'cache', images } as ImageLease;
    const cache = { lease: () => Promise.resolve(lease) } as unknown as ImageCache;
    const measured = metrics.images.measuredCache(cache);
    const hit = await measured.lease(object, { isShared: false });
    await hit.images.readInto(object, 0, new Uint8Array(5), options);
    metrics.images.evicted({ sizeBytes: 9 });
    expect(heard).toBe(10);
    expect(
      await valuesOf(
        'lvp_store_read_bytes_total',
        'lvp_store_errors_total{reason="TIMEOUT"}',
        'lvp_cache_read_bytes_total',
        'lvp_cache_requests_total{result="hit"}',
        'lvp_cache_requests_total{result="miss"}',
        'lvp_cache_evictions_total',
        'lvp_cache_evicted_bytes_total',
      ),
    ).toEqual([10, 1, 5, 1, 0, 1, 9]);
  });

  it('to volumes: bytes written, zeroed and read back', async () => {
    const done = () => Promise.resolve();
    const device: VolumeDevice = {
      sizeBytes: 8,
      write: done,
      zero: done,
      read: done,
      sync: done,
      close: done,
    };
    const opened = await metrics.volumes
      .measured({ open: () => Promise.resolve(device) })
      .open('vg0', 'lvp-fill-1');
    await opened.write(new Uint8Array(3), 0);
    await opened.zero(3, 4);
    await opened.read(new Uint8Array(2), 0);
    expect(
      await valuesOf(
        'lvp_volume_written_bytes_total',
        'lvp_volume_zeroed_bytes_total',
        'lvp_volume_read_bytes_total',
      ),
    ).toEqual([3, 4, 2]);
  });

  it('to the gate: decisions, those that cannot be made among them', async () => {
    await metrics.gate.measured(() => Promise.resolve({ allowed: false, problems: [] }))('prepare', '');
    await expect(metrics.gate.measured(failing)('prepare', '')).rejects.toThrow();
    expect(
      await valuesOf(
        'lvp_gate_decisions_total{operation="prepare",decision="allowed"}',
        'lvp_gate_decisions_total{operation="prepare",decision="denied"}',
        'lvp_gate_decisions_total{operation="prepare",decision="unknown"}',
        'lvp_gate_duration_seconds_count{operation="prepare"}',
      ),
    ).toEqual([0, 1, 1, 2]);
  });
});

describe('the rest', () => {
  it('tells of libvirt, the audit trail, the HTTP API and the program', async () => {
    metrics.libvirt.heard({ kind: 'connected' });
    metrics.libvirt.heard({ kind: 'disconnected', problem: { code: 'LIBVIRT_UNAVAILABLE', message: '' } });
    metrics.libvirt.heard({ kind: 'connected' });
    const trail = metrics.audit.counted({ record: () => undefined });
    trail.record({ who: 'x', what: 'y', decision: 'unauthorized', outcome: 'refused', correlationId: 'z' });
    metrics.http.onRequest('GET', '/api/v1/status/:id', 200, 0.01);
    metrics.http.setExpiry('ca-certificate', 5000);
    metrics.http.setExpiry('server-certificate', 5000);
    metrics.http.setExpiry('server-certificate', undefined);
    metrics.program.delayed(250);
    metrics.program.delayed(20);
    expect(
      await valuesOf(
        'lvp_libvirt_connected',
        'lvp_libvirt_connections_total',
        'lvp_audit_events_total{decision="unauthorized",outcome="refused"}',
        'libvirt_volume_provisioner_requests_total{method="GET",endpoint="/api/v1/status/:id",status="200"}',
        'lvp_credential_expiry_timestamp_seconds{credential="ca-certificate"}',
        'lvp_credential_expiry_timestamp_seconds{credential="server-certificate"}',
        'lvp_event_loop_delay_max_seconds',
        `lvp_build_info{version="1.2.3",node="${process.versions.node}"}`,
      ),
    ).toEqual([1, 2, 1, 1, 5, undefined, 0.25, 1]);
  });
});

/**
 * How long the daemon's one thread is busy with one thing while it looks at a large host: 2,000 domains, 400 of
 * them annotated, 1,000 LVs; meanwhile the gate does not answer. Run: node test/bench/event-loop.ts [FOLDER]
 *
 * The real verbs over the real ledger, in FOLDER (by default below the system's temporary one); libvirt and the
 * helper are models that answer at once. Fills are measured by write-image.ts, which prints `longestStillMs`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { systemClock } from '../../src/adapters/clock.ts';
import { watchEventLoop } from '../../src/adapters/event-loop-delay.ts';
import { openLedger } from '../../src/adapters/ledger.ts';
import { openLog } from '../../src/adapters/log.ts';
import { HELPER_RESULTS } from '../../src/core/helper-protocol.ts';
import { sealTags } from '../../src/core/volume.ts';
import { DomainVerbs } from '../../src/provision/control-verbs.ts';
import { Fills } from '../../src/provision/fills.ts';
import type { Domains, Pools, Volumes } from '../../src/provision/ports.ts';
import { Reconciler } from '../../src/provision/reconcile.ts';
import { Reservations } from '../../src/provision/reservations.ts';

const [DOMAINS, ANNOTATED, VOLUMES] = [2_000, 400, 1_000];
/** As many lines as virt-install writes for a guest with the usual devices. */
const DEVICE = `<controller type='pci' index='1' model='pcie-root-port'><model name='pcie-root-port'/>
  <target chassis='1' port='0x10'/><address type='pci' domain='0x0000' bus='0x00' slot='0x02'/></controller>\n`;

const folder = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'lvp-event-loop-'));
const log = openLog('silent', 'json');
const uuidOf = (index: number) => `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;

function xmlOf(index: number): string {
  const annotation = `<vp:provision xmlns:vp='urn:libvirt-volume-provisioner:domain:1'>
    <vp:volume target='vda' image='images/debian.qcow2' format='qcow2' sha256='${'a'.repeat(64)}'/></vp:provision>`;
  return `<domain type='kvm'><name>vm${index}</name><uuid>${uuidOf(index)}</uuid>
    <metadata>${index < ANNOTATED ? annotation : ''}</metadata><devices>${DEVICE.repeat(30)}
    <disk type='volume' device='disk'><driver name='qemu' type='raw'/>
    <source pool='guests' volume='vm${index}'/><target dev='vda' bus='virtio'/></disk></devices></domain>`;
}

const answer = JSON.stringify({
  volumes: Array.from({ length: VOLUMES }, (_, index) => ({
    ...{ vg: 'vg0', lv: `vm${index}`, uuid: `uuid-${index}`, sizeBytes: 2 ** 30, segmentType: 'linear' },
    ...{ active: true, open: true },
    tags:
      index < ANNOTATED
        ? sealTags({
            ...{
              fillId: index.toString(16).padStart(16, '0'),
              target: `vm${index}`,
              domainUuid: uuidOf(index),
            },
            ...{ image: 'images/debian.qcow2', sha256: 'a'.repeat(64), generation: 1 },
          })
        : [],
  })),
  groups: [{ vg: 'vg0', sizeBytes: 2 ** 42, freeBytes: 2 ** 41, extentBytes: 2 ** 22 }],
});

const unused = () => Promise.reject(new Error('nothing is filled here'));
const nothing = () => Promise.resolve();
const volumes: Volumes = {
  // Taken apart as it is when it comes from the helper.
  list: () => Promise.resolve(HELPER_RESULTS.list.parse(JSON.parse(answer))),
  ...{ examine: unused, create: unused, adopt: unused, publish: unused, claim: unused, discard: unused },
  ...{ retire: unused, restore: unused, arrive: unused, recall: unused },
};
const pools: Pools = {
  list: () => Promise.resolve([{ name: 'guests', uuid: 'pool', vg: 'vg0', active: true }]),
  ...{ refresh: nothing, start: nothing, deleteVolume: nothing },
};
const read = async (uuid: string) => {
  // libvirt-dbus answers in a turn of its own.
  await new Promise((resolve) => setImmediate(resolve));
  const index = Number(uuid.slice(-12));
  return {
    ...{ uuid, name: `vm${index}`, xml: xmlOf(index), active: false, persistent: true, autostart: false },
  };
};
const domains: Domains = {
  list: () => Promise.resolve(Array.from({ length: DOMAINS }, (_, index) => uuidOf(index))),
  ...{ read, find: read, start: nothing, writeAnnotation: nothing },
  hasArrived: () => Promise.resolve(false),
  hasManagedSave: () => Promise.resolve(false),
  everyXml: async (uuid) => [(await read(uuid)).xml],
};

const { ledger } = openLedger(join(folder, 'ledger.db'));
const limits = { concurrentMax: 2, queueMax: 1000, deadlineMs: 3_600_000 };
const fills = new Fills({ ledger, clock: systemClock, log }, unused, limits);
const needs = {
  ...{ ledger, clock: systemClock, log, volumes, pools, domains, fills },
  ...{ reservations: new Reservations({ volumes, log }), firstStarts: new Map<string, string>() },
  retiring: new Set<string>(),
};
const reconciler = new Reconciler(needs);
const verbs = new DomainVerbs({
  ...needs,
  reconciler,
  devices: { open: unused },
  sharedGroups: new Set(),
  virtualSizeMaxBytes: 0,
});

async function measure(what: string, work: () => Promise<void>): Promise<void> {
  let longestMs = 0;
  const stop = watchEventLoop(log, Infinity, (lateMs) => (longestMs = Math.max(longestMs, lateMs)));
  const startedMs = performance.now();
  await work();
  const tookMs = performance.now() - startedMs;
  await pause(100);
  stop();
  process.stdout.write(
    `${what.padEnd(36)} ${Math.round(tookMs)} ms, ${Math.round(longestMs)} ms at a time\n`,
  );
}

/** Until every annotated domain was looked at, and nothing is left to be. */
async function lookAtAll(): Promise<void> {
  await reconciler.requestAll();
  while (reconciler.isBusy) await pause(5);
}

await measure('all domains, with an empty ledger', lookAtAll);
if (ledger.fills().length !== ANNOTATED) throw new Error('not all domains were looked at');
await measure('all domains, again', lookAtAll);
await measure('lvp list', async () => {
  await verbs.domains();
});
ledger.close();
rmSync(folder, { recursive: true });

/** Thin pools: that what is made in them reads zero, that there is room, and that somebody sees when there is not. */
import { poolUse } from '../../core/thin/pool-trouble.ts';
import type { Check } from '../check.ts';
import { configOf, fail, must, ok, some, SOURCE, warn } from '../check.ts';
import type { HostFacts } from '../host.ts';
import { readAssignments } from '../settings.ts';

const THIN = SOURCE.thin('Watching it');

interface Pool {
  /** `vg0/pool0` */
  readonly name: string;
  /** Undefined while it is not active. */
  readonly percent: { readonly data: number; readonly metadata: number } | undefined;
  readonly metadataBytes: number;
  readonly zeroes: boolean;
  readonly isMonitored: boolean;
  /** Empty if it is well. */
  readonly health: string;
}

/** Those that the configuration names; `missing`: by their names. */
async function poolsOf(
  host: HostFacts,
): Promise<{ readonly pools: readonly Pool[]; readonly missing: readonly string[] }> {
  const wanted = [...(await configOf(host)).thinPools].map(([vg, lv]) => `${vg}/${lv}`);
  if (wanted.length === 0) return { pools: [], missing: [] };
  const there = must(await host.run('thin-pools'), 'lvs')
    .split('\n')
    .map((line) => line.trim().split(','))
    .map(([vg = '', lv = '', data = '', metadata = '', zero, monitor, health = '', check, size]): Pool => ({
      name: `${vg}/${lv}`,
      percent: data === '' ? undefined : { data: Number(data), metadata: Number(metadata) },
      zeroes: zero === 'zero',
      isMonitored: monitor === 'monitored',
      health: check === 'check needed' ? 'to be checked: it can only be read' : health,
      metadataBytes: Number(size),
    }));
  return {
    pools: there.filter(({ name }) => wanted.includes(name)),
    missing: wanted.filter((name) => !there.some((pool) => pool.name === name)),
  };
}

const NONE = ok('no thin pool is configured');

export const THIN_CHECKS: readonly Check[] = [
  {
    id: 'lvm.thin-pools',
    title: 'the configured thin pools are there, well, and zero what they map',
    why: 'Without zeroing a guest reads what an earlier one has left in a chunk: such a pool is not used.',
    source: THIN,
    fix: 'lvchange --zero y VG/POOL. Without space for metadata, lvextend --poolmetadatasize +SIZE VG/POOL; to be checked, lvconvert --repair VG/POOL while nobody uses it: man lvmthin.',
    look: async (host) => {
      const { pools, missing } = await poolsOf(host);
      if (pools.length + missing.length === 0) return NONE;
      const wrong = [
        ...missing.map((name) => `${name} is missing`),
        ...pools.filter(({ zeroes }) => !zeroes).map(({ name }) => `${name} does not zero`),
        ...pools.filter(({ health }) => health !== '').map(({ name, health }) => `${name} is ${health}`),
      ];
      return wrong.length === 0 ? ok(some(pools.map(({ name }) => name))) : fail(some(wrong));
    },
  },
  {
    id: 'lvm.thin-room',
    title: 'the thin pools have room',
    why: 'From thin.stop_percent of data or metadata on, or with less than 4 MiB or a quarter of the metadata left, nothing more is made; in a full pool guests cannot write.',
    source: THIN,
    fix: 'lvextend --size +SIZE VG/POOL, lvextend --poolmetadatasize +SIZE VG/POOL; or remove thin volumes that nobody needs.',
    look: async (host) => {
      const { pools } = await poolsOf(host);
      if (pools.length === 0) return NONE;
      const { thin } = await configOf(host);
      const used = pools.flatMap(({ name, percent, metadataBytes }) =>
        percent === undefined ? [] : [{ name, ...percent, metadataBytes }],
      );
      const uses = used.flatMap(({ data, metadata, metadataBytes }) =>
        poolUse({ data, metadata }, metadataBytes, thin),
      );
      const said =
        used.length === 0
          ? 'none of them is active'
          : used.map(({ name, data, metadata }) => `${name} data ${data}%, metadata ${metadata}%`).join('; ');
      if (uses.some(({ usedPercent, stopPercent }) => usedPercent >= stopPercent)) return fail(said);
      return uses.some(({ usedPercent, warnPercent }) => usedPercent >= warnPercent) ? warn(said) : ok(said);
    },
  },
  {
    id: 'lvm.thin-growth',
    title: 'LVM watches the thin pools, and may extend them where more is promised than they have',
    why: 'A pool that nobody watches fills up unseen, and with it stand all guests that write.',
    source: THIN,
    fix: 'lvchange --monitor y VG/POOL with dmeventd running; activation/thin_pool_autoextend_threshold = 80 in /etc/lvm/lvm.conf.',
    look: async (host) => {
      const { pools } = await poolsOf(host);
      if (pools.length === 0) return NONE;
      const active = pools.filter(({ percent }) => percent !== undefined);
      const unwatched = active.filter(({ isMonitored }) => !isMonitored).map(({ name }) => name);
      if (unwatched.length > 0) return warn(`not monitored: ${some(unwatched)}`);
      const settings = readAssignments(must(await host.run('lvm-growth'), 'lvmconfig'));
      const threshold = Number(settings.get('thin_pool_autoextend_threshold') ?? '100');
      const { overcommit } = (await configOf(host)).thin;
      if (threshold >= 100 && overcommit > 1) {
        return warn(`thin.overcommit is ${overcommit}, and LVM extends no pool by itself`);
      }
      return ok(threshold >= 100 ? 'monitored' : `monitored, extended from ${threshold}% on`);
    },
  },
];

/**
 * What may stand in the configuration file. Defaults are here and nowhere else;
 * systemd/config.example.yaml shows them, and a test compares the two.
 */
import { BlockList, isIP } from 'node:net';
import { z } from 'zod';
import type { GoldenMax } from '../../core/thin/golden-budget.ts';
import type { KeepFree } from '../../core/volume/headroom.ts';
import { KEEP_NOTHING_FREE } from '../../core/volume/headroom.ts';
import type { MinisignKey } from '../../core/policy/minisign.ts';
import { parseMinisignKey } from '../../core/policy/minisign.ts';
import type { Subnet } from '../../core/settings/subnet.ts';
import { parseSize } from '../../core/size.ts';
import {
  duration,
  flag,
  leaf,
  listOf,
  names,
  number,
  oneOf,
  parsePrefix,
  path,
  size,
  sizeOrOff,
  thinPool,
  volumeGroups,
  whole,
} from './leaves.ts';
import { Http } from './http-schema.ts';
import { Keys } from './keys-schema.ts';
import { hostOf, isLoopback } from './loopback.ts';
import { Policy, policyMistakes } from './policy-schema.ts';
import { Prefetch, prefetchMistakes } from './prefetch-schema.ts';
import { Tracing } from './tracing-schema.ts';

const endpoint = leaf(
  'a URL such as https://minio.example.com:9000, without user, path or query',
  (value): URL | undefined => {
    const url = typeof value === 'string' ? URL.parse(value) : null;
    const isEndpoint =
      url !== null &&
      ['http:', 'https:'].includes(url.protocol) &&
      `${url.username}${url.password}${url.search}${url.hash}` === '' &&
      url.pathname === '/';
    return isEndpoint ? url : undefined;
  },
);

function parseSubnet(value: unknown): Subnet | undefined {
  const [, address = '', bits] = /^([0-9A-Fa-f.:]+)(?:\/(\d{1,3}))?$/.exec(String(value)) ?? [];
  const version = isIP(address);
  const bitsMax = version === 4 ? 32 : 128;
  const prefix = Number(bits ?? bitsMax);
  if (version === 0 || prefix > bitsMax) return undefined;
  return { address, prefix, family: version === 4 ? 'ipv4' : 'ipv6' };
}

const Minio = z
  .strictObject({
    endpoint,
    allow_http: flag.default(false),
    region: leaf('a region name such as us-east-1', (value) =>
      typeof value === 'string' && /^[a-z0-9-]{1,64}$/.test(value) ? value : undefined,
    ).default('us-east-1'),
    buckets: names('3 to 63 of a-z, 0-9, . and -', /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/).optional(),
    addresses: leaf('a list of at least one address or range, such as 10.1.2.0/24 or fd00:7::/64', (value) =>
      listOf(value, parseSubnet),
    ).optional(),
    ca_file: path.optional(),
    access_key_file: path.optional(),
    secret_key_file: path.optional(),
    timeouts: z
      .strictObject({
        connect: duration(100, 60_000).default(5_000),
        idle: duration(1_000, 600_000).default(30_000),
      })
      .prefault({}),
    rate_min: size('bytes a second such as 64KiB, from 1B to 1GiB', 1, 2 ** 30).default(64 * 1024),
  })
  .superRefine((minio, context) => {
    const url: unknown = minio.endpoint;
    if (!(url instanceof URL)) return;
    if (minio.addresses !== undefined && isOutside(url, minio.addresses)) {
      context.addIssue({ code: 'custom', path: ['endpoint'], message: 'an address within minio.addresses' });
    }
    if (url.protocol === 'https:' || minio.allow_http || isLoopback(url)) return;
    context.addIssue({
      code: 'custom',
      path: ['endpoint'],
      message: 'an https URL; plain http only for this machine itself, or with minio.allow_http: true',
    });
  });

const Integrity = z
  .strictObject({
    require_digest: flag.default(true),
    minisign_keys: leaf(
      'a list of minisign public keys, each the last line of a minisign.pub',
      (value): readonly MinisignKey[] | undefined => {
        if (!Array.isArray(value)) return undefined;
        const keys = value.map((key) => (typeof key === 'string' ? parseMinisignKey(key) : undefined));
        return keys.every((key) => key !== undefined) ? keys : undefined;
      },
    ).default([]),
    rules: z
      .array(
        z.strictObject({
          prefix: leaf('the beginning of BUCKET/KEY, such as images/prod/', parsePrefix),
          require: oneOf('digest', 'signature'),
        }),
      )
      .max(1000)
      .default([]),
  })
  .superRefine(({ rules, minisign_keys: keys }, context) => {
    const index = rules.findIndex(({ require }) => require === 'signature');
    if (index < 0 || keys.length > 0) return;
    context.addIssue({
      code: 'custom',
      path: ['rules', index, 'require'],
      message: 'signature only together with at least one key in integrity.minisign_keys',
    });
  });

const keepFree = leaf(
  'a size such as 50GiB, or a percentage of the group from 0% to 99%',
  (value): KeepFree | undefined => {
    if (typeof value !== 'string') return undefined;
    const [, percent] = /^(\d{1,2})%$/.exec(value) ?? [];
    if (percent !== undefined) return { percent: Number(percent) };
    const bytes = parseSize(value);
    return bytes === undefined ? undefined : { bytes };
  },
);

const goldenMax = leaf(
  'a size such as 50GiB, or a percentage of the thin pool from 1% to 100%',
  (value): GoldenMax | undefined => {
    if (typeof value !== 'string') return undefined;
    const percent = Number(/^([1-9]\d{0,2})%$/.exec(value)?.[1]);
    if (percent <= 100) return { percent };
    const bytes = parseSize(value);
    return bytes === undefined ? undefined : { bytes };
  },
);

const Thin = z
  .strictObject({
    overcommit: number('a factor from 1 to 100, such as 1 or 1.5', 1, 100).default(1),
    warn_percent: whole(1, 100).default(80),
    stop_percent: whole(1, 100).default(95),
    checks_per_day: whole(0, 1_000).default(4),
  })
  .superRefine(({ warn_percent: warn, stop_percent: stop }, context) => {
    if (warn <= stop) return;
    context.addIssue({ code: 'custom', path: ['warn_percent'], message: 'at most thin.stop_percent' });
  });

export const ConfigFile = z
  .strictObject({
    minio: Minio,
    volume_groups: volumeGroups(1),
    shared_volume_groups: volumeGroups(0).default([]),
    thin_pools: z.record(z.string(), thinPool).default({}),
    thin: Thin.prefault({}),
    policy: Policy.optional(),
    integrity: Integrity.prefault({}),
    verify: z.strictObject({ read_back: flag.default(false) }).prefault({}),
    gate: z.strictObject({ grace: duration(0, 30_000).default(3_000) }).prefault({}),
    fills: z
      .strictObject({
        concurrent: whole(1, 16).default(2),
        queue_max: whole(1, 100_000).default(1_000),
        deadline: duration(60_000, 7 * 86_400_000).default(6 * 3_600_000),
        write_rate_max: sizeOrOff('off, or bytes a second such as 200MiB, from 1MiB on', 2 ** 20).default(0),
      })
      .prefault({}),
    pools: z
      .record(
        z.string(),
        z.strictObject({ keep_free: keepFree.default(KEEP_NOTHING_FREE), golden_max: goldenMax.optional() }),
      )
      .default({}),
    cache: z
      .strictObject({
        size_max: sizeOrOff('off, or a size such as 50GiB').default(0),
      })
      .prefault({}),
    prefetch: Prefetch.prefault({}),
    limits: z
      .strictObject({
        virtual_size_max: size('a size such as 500GiB or 2TiB').default(2 * 2 ** 40),
        expansion_max: whole(1, 1_000_000).default(2_000),
        decompression_time_max: duration(1_000, 86_400_000).default(3_600_000),
      })
      .prefault({}),
    http: Http.optional(),
    keys: Keys.prefault({}),
    tracing: Tracing.optional(),
    reconcile: z.strictObject({ interval: duration(5_000, 3_600_000).default(60_000) }).prefault({}),
    state_dir: path.default('/var/lib/libvirt-volume-provisioner'),
    runtime_dir: path.default('/run/libvirt-volume-provisioner'),
    log: z
      .strictObject({
        level: oneOf('trace', 'debug', 'info', 'warn', 'error').default('info'),
        format: oneOf('json', 'pretty', 'auto').default('auto'),
      })
      .prefault({}),
  })
  .superRefine((settings, context) => {
    const { pools, policy, prefetch, integrity, minio, cache, volume_groups: groups } = settings;
    const known = { groups, isSignatureUsable: integrity.minisign_keys.length > 0 };
    const thinGroups = Object.keys(settings.thin_pools);
    const mistakes = [
      ...policyMistakes(policy ?? [], known),
      ...prefetchMistakes(prefetch, { buckets: minio.buckets, cacheBytes: cache.size_max, thinGroups }),
      ...thinMistakes(settings),
    ];
    for (const mistake of mistakes) context.addIssue({ code: 'custom', ...mistake });
    for (const [vg, { golden_max: max }] of Object.entries(pools)) {
      if (!groups.includes(vg)) {
        const message = 'only under the name of one of volume_groups';
        context.addIssue({ code: 'custom', path: ['pools', vg], message });
      } else if (max !== undefined && !thinGroups.includes(vg)) {
        const message = 'only for a group that has a thin pool in thin_pools';
        context.addIssue({ code: 'custom', path: ['pools', vg, 'golden_max'], message });
      }
    }
  });
export type ConfigFile = z.infer<typeof ConfigFile>;

/** A thin pool is active on one host, and holds volumes of ours only in a group that is ours. */
function thinMistakes({
  thin_pools: thinPools,
  volume_groups: groups,
  shared_volume_groups: shared,
}: {
  readonly thin_pools: Readonly<Record<string, string>>;
  readonly volume_groups: readonly string[];
  readonly shared_volume_groups: readonly string[];
}): { readonly path: string[]; readonly message: string }[] {
  return Object.keys(thinPools).flatMap((vg) => {
    const path = ['thin_pools', vg];
    if (!groups.includes(vg)) return [{ path, message: 'only under the name of one of volume_groups' }];
    if (!shared.includes(vg)) return [];
    return [{ path, message: 'none in a group of shared_volume_groups: a thin pool belongs to one host' }];
  });
}

/** A name is looked up, and judged, whenever a connection is made. */
function isOutside(url: URL, subnets: readonly Subnet[]): boolean {
  const host = hostOf(url);
  const version = isIP(host);
  if (version === 0) return false;
  const list = new BlockList();
  for (const { address, prefix, family } of subnets) list.addSubnet(address, prefix, family);
  return !list.check(host, version === 4 ? 'ipv4' : 'ipv6');
}

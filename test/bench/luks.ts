/** npm run luks: what it costs to fill a volume encrypted, beside what people would type; see --help. */
import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { median } from './measure.ts';

const USAGE = `Usage: npm run luks -- [OPTIONS]

Boots a test host (test/host/host), and measures in it how long it takes from the definition of a domain to its volume,
plain and encrypted, and how long a download and qemu-img take for the same. Prints a table for each size, and one of how
the ways compare.

  --runs N        of each measure (5)
  --image MIB     size of the image, random bytes; several with commas between (256,1024)
  --help          print this

The kernel of the test host encrypts in plain C, without the instructions that a processor has for it and that QEMU, a
program, uses there as well: on a real host dm-crypt has them, too.
`;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    image: { type: 'string', default: '256,1024' },
    help: { type: 'boolean', default: false },
  },
});

const HOST = join(import.meta.dirname, '../host/host');
const NAME = 'luksbench';
const MIB = 2 ** 20;

/** Milliseconds, as the part of the bench in the host has printed them. */
async function inHost(...words: string[]): Promise<number[]> {
  process.stderr.write(`${words.join(' ')}\n`);
  const { stdout } = await execa(HOST, ['sh', '-n', NAME, '/mnt/checkout/test/bench/luks-in-host', ...words]);
  return stdout.split('\n').map(Number);
}

type Ways = ReadonlyMap<string, readonly number[]>;

const OURS = { plain: 'lvp, plain', encrypted: 'lvp, encrypted' } as const;
const BY_HAND = {
  plain: 'download, lvcreate, qemu-img convert, plain',
  encrypted: 'download, lvcreate, qemu-img convert, encrypted',
} as const;

/** Seconds of each way, in the order of the runs. */
async function measured(runs: number, image: string, sizeMiB: number): Promise<Ways> {
  const bytes = String(sizeMiB * MIB);
  const ways = new Map<string, number[]>();
  const took = (way: string, ms = NaN) => {
    ways.set(way, [...(ways.get(way) ?? []), ms / 1000]);
  };
  for (let run = 1; run <= runs; run++) {
    for (const kind of ['plain', 'encrypted'] as const) {
      const [fill] = await inHost('fill', `${kind}${run}-${sizeMiB}`, image, `${sizeMiB}MiB`, kind);
      took(OURS[kind], fill);
      const [other] = await inHost('others', image, bytes, kind);
      took(BY_HAND[kind], other);
    }
    const [download, write, encrypted] = await inHost('limit', image, bytes);
    took('only the download', download);
    took('only dd to the volume', write);
    took('only dd through dm-crypt', encrypted);
  }
  return ways;
}

/** Each run is compared with itself: what else the machine does meets neighbours in time. */
function ratio(ways: Ways, way: string, to: string): string {
  const other = ways.get(to) ?? [];
  return median((ways.get(way) ?? []).map((took, run) => took / (other[run] ?? NaN))).toFixed(2);
}

function table(ways: Ways, sizeMiB: number): string {
  const rows = [...ways].map(([way, all]) => {
    const range = `${Math.min(...all).toFixed(2)}–${Math.max(...all).toFixed(2)}`;
    return `| ${way} | ${median([...all]).toFixed(2)} | ${range} | ${ratio(ways, OURS.encrypted, way)} |`;
  });
  return [
    `| a volume of ${sizeMiB} MiB | s | from–to | lvp, encrypted ÷ this |`,
    '| --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

function comparison(bySize: ReadonlyMap<number, Ways>): string {
  const rows = [...bySize].map(([sizeMiB, ways]) => {
    const byHand = (['encrypted', 'plain'] as const).map((kind) => ratio(ways, OURS[kind], BY_HAND[kind]));
    return `| ${[sizeMiB, ...byHand, ratio(ways, OURS.encrypted, OURS.plain)].join(' | ')} |`;
  });
  return [
    '| MiB | encrypted: lvp ÷ by hand | plain: lvp ÷ by hand | lvp: encrypted ÷ plain |',
    '| --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

async function put(folder: string, image: string, sizeMiB: number): Promise<void> {
  const path = join(folder, image);
  const file = openSync(path, 'w');
  for (let mib = 0; mib < sizeMiB; mib++) writeSync(file, randomBytes(MIB));
  closeSync(file);
  await execa(HOST, ['put', '-n', NAME, '--sha256', path, image]);
  rmSync(path);
}

async function main(runs: number, sizes: readonly number[]): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'lvp-luks-'));
  const [before = 0] = loadavg();
  const bySize = new Map<number, Ways>();
  try {
    await execa(HOST, ['up', '--installed', NAME]);
    await inHost('setup');
    for (const sizeMiB of sizes) {
      const image = `luks${sizeMiB}.raw`;
      await put(folder, image, sizeMiB);
      const ways = await measured(runs, image, sizeMiB);
      bySize.set(sizeMiB, ways);
      process.stdout.write(`${table(ways, sizeMiB)}\n\n`);
    }
    process.stdout.write(`${comparison(bySize)}\n`);
    process.stdout.write(`\nLoad ${before.toFixed(1)} before, ${(loadavg()[0] ?? 0).toFixed(1)} after.\n`);
  } finally {
    await execa(HOST, ['down', NAME], { reject: false });
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What the options say, or in words why that cannot be measured. */
function wanted(): { readonly runs: number; readonly sizes: readonly number[] } | string {
  const runs = Number(values.runs);
  const sizes = values.image.split(',').map(Number);
  const isCount = (count: number) => Number.isInteger(count) && count > 0;
  if (!isCount(runs)) return `--runs ${values.runs} is not a number of runs.`;
  if (!sizes.every(isCount)) return `--image ${values.image} is no list of sizes in MiB, as 256,1024 is.`;
  return { runs, sizes };
}

const asked = wanted();
if (values.help) process.stdout.write(USAGE);
else if (typeof asked === 'string') {
  process.stderr.write(`${asked}\n`);
  process.exitCode = 2;
} else await main(asked.runs, asked.sizes);

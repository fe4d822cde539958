/** npm run thin: how soon thin volumes are there, beside other ways to make them; see --help. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { median } from './measure.ts';

const USAGE = `Usage: npm run thin -- [OPTIONS]

Boots a test host (test/host/host), and measures in it how long it takes from the definition of a domain to its thin
volume, and how long a boot storm takes: by our program, thin and thick, and by what others do. Prints tables.

  --domains N     of a storm (32)
  --runs N        of each measure of one volume (5)
  --image MIB     size of the image of a storm (256)
  --warm          no storm: only volumes whose image is on the host
  --help          print this
`;

const { values } = parseArgs({
  options: {
    domains: { type: 'string', default: '32' },
    runs: { type: 'string', default: '5' },
    image: { type: 'string', default: '256' },
    warm: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const HOST = join(import.meta.dirname, '../host/host');
const NAME = 'thinbench';
const WARM_SIZES = ['2GiB', '200GiB'];
/** As the annotation and as lvextend have it. */
const STORM_SIZE = { asked: '10GiB', lvm: '10g' };

/** The numbers, most of them milliseconds, as the part of the bench in the host has printed them. */
async function inHost(...words: string[]): Promise<number[]> {
  process.stderr.write(`${words.join(' ')}\n`);
  const { stdout } = await execa(HOST, ['sh', '-n', NAME, '/mnt/checkout/test/bench/thin-in-host', ...words]);
  return stdout.split('\n').map(Number);
}

async function put(folder: string, key: string, sizeMiB: number): Promise<void> {
  const file = join(folder, key);
  writeFileSync(file, randomBytes(sizeMiB << 20));
  await execa(HOST, ['put', '-n', NAME, '--sha256', file, key]);
}

const seconds = (ms = NaN): string => (ms / 1000).toFixed(2);

async function warmTable(runs: number): Promise<string> {
  const rows: string[] = [];
  // The first brings the image to the host.
  await inHost('warm', 'warm.raw', '1GiB', 'cold');
  for (const size of WARM_SIZES) {
    const took: number[] = [];
    const started: number[] = [];
    for (let run = 1; run <= runs; run++) {
      const [ms = NaN, programs = NaN] = await inHost('warm', 'warm.raw', size, `warm${run}`);
      took.push(ms);
      started.push(programs);
    }
    const range = `${seconds(Math.min(...took))}–${seconds(Math.max(...took))}`;
    rows.push(`| ${size} | ${seconds(median(took))} (${range}) | ${median(started)} |`);
  }
  const head = '| from define to published, image warm | s | programs and threads started |';
  return [head, '| --- | --- | --- |', ...rows].join('\n');
}

async function stormTable(domains: number, sizeMiB: number): Promise<string> {
  const bytes = String(sizeMiB << 20);
  const count = String(domains);
  const [, thin] = await inHost('storm', 'thin', count, 'storm-thin.raw', STORM_SIZE.asked);
  const [, thick] = await inHost('storm', 'thick', count, 'storm-thick.raw', `${sizeMiB}MiB`);
  const [, snapshots] = await inHost('others_thin', count, 'storm-thin.raw', bytes, STORM_SIZE.lvm);
  const [copies] = await inHost('others_thick', count, 'storm-thin.raw', `${sizeMiB}m`);
  const [download = 0, write = 0] = await inHost('limit', 'storm-thin.raw', bytes);
  const rows: [string, number | undefined][] = [
    [`thin, ${STORM_SIZE.asked} each`, thin],
    ['thick, as large as the image', thick],
    [
      'one download, qemu-img convert into a thin volume, and of that lvcreate, lvextend, lvchange for each',
      snapshots,
    ],
    ['one download, and lvcreate and qemu-img convert into a thick volume for each', copies],
    ['only one download, and one write of the image', download + write],
    [`only one download, and ${domains} writes of the image`, download + domains * write],
  ];
  return [
    `| ${domains} volumes of a cold image of ${sizeMiB} MiB | s |`,
    '| --- | --- |',
    ...rows.map(([what, ms]) => `| ${what} | ${seconds(ms)} |`),
  ].join('\n');
}

async function main(): Promise<void> {
  const [domains, runs, sizeMiB] = [Number(values.domains), Number(values.runs), Number(values.image)];
  const folder = mkdtempSync(join(tmpdir(), 'lvp-thin-'));
  const [before = 0] = loadavg();
  try {
    await execa(HOST, ['up', '--installed', NAME]);
    await inHost('setup');
    await put(folder, 'warm.raw', 64);
    process.stdout.write(`${await warmTable(runs)}\n\n`);
    if (!values.warm) {
      for (const kind of ['thin', 'thick']) await put(folder, `storm-${kind}.raw`, sizeMiB);
      process.stdout.write(`${await stormTable(domains, sizeMiB)}\n`);
    }
    process.stdout.write(`\nLoad ${before.toFixed(1)} before, ${(loadavg()[0] ?? 0).toFixed(1)} after.\n`);
  } finally {
    await execa(HOST, ['down', NAME], { reject: false });
    rmSync(folder, { recursive: true, force: true });
  }
}

if (values.help) process.stdout.write(USAGE);
else await main();

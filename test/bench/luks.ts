/** npm run luks: what it costs to fill a volume encrypted, beside what people would type; see --help. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { median } from './measure.ts';

const USAGE = `Usage: npm run luks -- [OPTIONS]

Boots a test host (test/host/host), and measures in it how long it takes from the definition of a domain to its volume,
plain and encrypted, and how long a download and qemu-img take for the same. Prints a table.

  --runs N        of each measure (5)
  --image MIB     size of the image, random bytes (512)
  --help          print this

The kernel of the test host encrypts in plain C, without the instructions that a processor has for it and that QEMU, a
program, uses there as well: on a real host dm-crypt has them, too.
`;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    image: { type: 'string', default: '512' },
    help: { type: 'boolean', default: false },
  },
});

const HOST = join(import.meta.dirname, '../host/host');
const NAME = 'luksbench';
const IMAGE = 'luks.raw';

/** Milliseconds, as the part of the bench in the host has printed them. */
async function inHost(...words: string[]): Promise<number[]> {
  process.stderr.write(`${words.join(' ')}\n`);
  const { stdout } = await execa(HOST, ['sh', '-n', NAME, '/mnt/checkout/test/bench/luks-in-host', ...words]);
  return stdout.split('\n').map(Number);
}

async function measured(runs: number, sizeMiB: number): Promise<string> {
  const bytes = String(sizeMiB << 20);
  const ways = new Map<string, number[]>();
  const took = (way: string, ms = NaN) => {
    ways.set(way, [...(ways.get(way) ?? []), ms / 1000]);
  };
  for (let run = 1; run <= runs; run++) {
    for (const kind of ['plain', 'encrypted']) {
      const [fill] = await inHost('fill', `${kind}${run}`, IMAGE, `${sizeMiB}MiB`, kind);
      took(`lvp, ${kind}`, fill);
      const [other] = await inHost('others', IMAGE, bytes, kind);
      took(`download, lvcreate, qemu-img convert, ${kind}`, other);
    }
    const [download, write, encrypted] = await inHost('limit', IMAGE, bytes);
    took('only the download', download);
    took('only dd to the volume', write);
    took('only dd through dm-crypt', encrypted);
  }
  const ours = ways.get('lvp, encrypted') ?? [];
  const rows = [...ways].map(([way, all]) => {
    const ratio = median(ours.map((own, run) => own / (all[run] ?? NaN)));
    const range = `${Math.min(...all).toFixed(2)}–${Math.max(...all).toFixed(2)}`;
    return `| ${way} | ${median(all).toFixed(2)} | ${range} | ${ratio.toFixed(2)} |`;
  });
  return [
    `| a volume of ${sizeMiB} MiB | s | from–to | lvp, encrypted ÷ this |`,
    '| --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

async function main(): Promise<void> {
  const [runs, sizeMiB] = [Number(values.runs), Number(values.image)];
  const folder = mkdtempSync(join(tmpdir(), 'lvp-luks-'));
  const [before = 0] = loadavg();
  try {
    await execa(HOST, ['up', '--installed', NAME]);
    await inHost('setup');
    const file = join(folder, IMAGE);
    writeFileSync(file, randomBytes(sizeMiB << 20));
    await execa(HOST, ['put', '-n', NAME, '--sha256', file, IMAGE]);
    process.stdout.write(`${await measured(runs, sizeMiB)}\n`);
    process.stdout.write(`\nLoad ${before.toFixed(1)} before, ${(loadavg()[0] ?? 0).toFixed(1)} after.\n`);
  } finally {
    await execa(HOST, ['down', NAME], { reject: false });
    rmSync(folder, { recursive: true, force: true });
  }
}

if (values.help) process.stdout.write(USAGE);
else await main();

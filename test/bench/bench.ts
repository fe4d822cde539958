/** npm run bench: how fast volumes are filled, beside what a person would type instead; see --help. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Case } from './cases.ts';
import { CASES } from './cases.ts';
import { attachDevice } from './devices.ts';
import type { BenchImage } from './images.ts';
import { ImageSources } from './images.ts';
import { measure } from './measure.ts';
import { installNbdkit } from './packages.ts';
import type { CaseResult } from './report.ts';
import { reportText, section } from './report.ts';
import { runPart } from './run-part.ts';
import { findRoom } from './room.ts';
import type { Cleanup } from './shell.ts';
import { timed } from './shell.ts';
import { KEYS, startStore } from './store.ts';
import type { Way } from './ways.ts';
import { downloadedFile } from './ways.ts';

const USAGE = `Usage: npm run bench -- [OPTIONS]

Fills volumes on loop devices from a MinIO on this machine, by our program and by what people would type, and
prints a report. Needs root, loop devices, qemu-img, e2fsprogs and curl; installs nbdkit and libnbd-bin (Debian)
where they are missing.

  --case NAME     only this case; may be given more than once
  --runs N        counted runs of each way (5)
  --folder DIR    made for what is measured, best in a tmpfs (/dev/shm/lvp-bench)
  --disk DIR      made for the images, and for cases that memory has no room for (/var/tmp/lvp-bench)
  --port N        of MinIO; the next one is used as well (19400)
  --write         write the report to docs/performance.md, too
  --list          print the cases and their goals
  --help          print this
`;

const { values } = parseArgs({
  options: {
    case: { type: 'string', multiple: true },
    runs: { type: 'string', default: '5' },
    folder: { type: 'string', default: '/dev/shm/lvp-bench' },
    disk: { type: 'string', default: '/var/tmp/lvp-bench' },
    port: { type: 'string', default: '19400' },
    write: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

interface Bench {
  readonly folders: readonly string[];
  readonly sources: ImageSources;
  readonly port: number;
  readonly runs: number;
  readonly hasNbdkit: boolean;
  readonly cleanup: Cleanup;
}

async function benchAll(cases: readonly Case[], runs: number, cleanup: Cleanup): Promise<string> {
  const { folder, disk, port } = values;
  for (const made of [folder, disk]) makeFolder(made, cleanup);
  const sources = new ImageSources(disk);
  const hasNbdkit = await installNbdkit();
  const bench = { folders: [folder, disk], sources, port: Number(port), runs, hasNbdkit, cleanup };
  const results: CaseResult[] = [];
  for (const theCase of cases) {
    const result = await benchCase(theCase, bench);
    // Already now: a later case may fail.
    process.stderr.write(section(result));
    results.push(result);
  }
  const command = ['npm run bench', ...process.argv.slice(2)].join(' ').replace('bench -', 'bench -- -');
  return reportText(results, command, runs);
}

/** Sets the stage, measures, looks whether the volume is right, and takes everything away again. */
async function benchCase(theCase: Case, bench: Bench): Promise<CaseResult> {
  const cleanup = bench.cleanup.part();
  try {
    const images = [theCase.image, 'tiny' as const, ...(theCase.others ?? [])];
    const [image, tiny, ...others] = await Promise.all(images.map((name) => bench.sources.image(name)));
    if (image === undefined || tiny === undefined) throw new Error('a case has an image');
    const place = findRoom(bench.folders, theCase.roomBytes);
    const folder = join(place.folder, theCase.name);
    makeFolder(folder, cleanup);
    process.stderr.write(`${theCase.name} in ${folder} `);
    const store = await startStore(folder, bench.port, [image, tiny, ...others], false, cleanup);
    const volume = attachDevice(folder, 'volume0', image.virtualBytes, cleanup);
    const warm = { image: tiny, device: attachDevice(folder, 'warm', tiny.virtualBytes, cleanup) };
    const scene = { folder, store, url: store.url, prefix: '', devices: [volume], warm };
    const ways = await theCase.ways({ image, others, scene, hasNbdkit: bench.hasNbdkit, cleanup });
    const removing = `rm -f ${downloadedFile(scene)}`;
    const before = theCase.isTrimmed === true ? `${removing}; blkdiscard --force ${volume} 2>&1` : removing;
    const measured = await measure(ways, bench.runs, before);
    await timed(before);
    await verify(ways[0], image);
    return { theCase, image, place, measured };
  } finally {
    await cleanup.all();
  }
}

/** What was measured must be right: the volumes' bytes are the disk's, also where there was something else. */
async function verify(way: Way | undefined, { path, format: kind, virtualBytes }: BenchImage): Promise<void> {
  const { line = '', devices = [] } = way ?? {};
  const place = virtualBytes / 2 ** 22 - 32;
  for (const device of devices) {
    await timed(`dd if=/dev/urandom of=${device} bs=4M count=16 seek=${place} oflag=direct status=none`);
  }
  await timed(line, KEYS);
  for (const device of devices) await timed(`qemu-img compare -f ${kind} -F raw ${path} ${device}`);
}

/** A folder that is there belongs to another bench, or to one that was killed: that is for a person to see. */
function makeFolder(folder: string, cleanup: Cleanup): void {
  mkdirSync(folder);
  cleanup.add(() => {
    rmSync(folder, { recursive: true, force: true });
  });
}

function listText(): string {
  const lines = CASES.map(({ name, title, goals }) => {
    const wanted = goals.map(({ way, kind, max }) => `${kind} ${max} (${way})`).join(', ');
    return `${name.padEnd(8)}  ${title}${wanted === '' ? '' : `: ${wanted}`}\n`;
  });
  return lines.join('');
}

function chosenCases(): readonly Case[] {
  const names = values.case ?? CASES.map(({ name }) => name);
  return names.map((name) => {
    const found = CASES.find((theCase) => theCase.name === name);
    if (found === undefined) throw new Error(`there is no case ${name}: see --list`);
    return found;
  });
}

async function main(): Promise<void> {
  const runs = Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1) throw new Error('--runs wants a number of 1 or more');
  const cases = chosenCases();
  await runPart('bench', values.write, (cleanup) => benchAll(cases, runs, cleanup));
}

if (values.help) process.stdout.write(USAGE);
else if (values.list) process.stdout.write(listText());
else await main();

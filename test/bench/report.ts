/** docs/performance.md, out of what was measured. */
import { cpus, loadavg, release, totalmem } from 'node:os';
import type { Case, Goal } from './cases.ts';
import type { BenchImage } from './images.ts';
import type { Measured, OwnMeasured } from './measure.ts';
import { versionOf } from './packages.ts';
import type { Place } from './room.ts';

export interface CaseResult {
  readonly theCase: Case;
  readonly image: BenchImage;
  readonly place: Place;
  readonly measured: readonly Measured[];
}

export function reportText(results: readonly CaseResult[], command: string, runs: number): string {
  const [cpu] = cpus();
  const programs = ['qemu-img', 'curl', 'nbdkit', 'nbdcopy'].map(versionOf).join(', ');
  const machine = [
    `${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}, ${mib(totalmem())}, Linux ${release()}`,
    `Node ${process.version}, load ${loadavg()[0]?.toFixed(1) ?? ''}; ${programs}`,
  ].join(', ');
  return `# Performance

Measured ${new Date().toISOString().slice(0, 10)} with \`${command}\`, on: ${machine}.

Medians of ${runs} ${runs === 1 ? 'run' : 'runs'}, after one that does not count. The ways of one table ran in
turn, and the ratio is the median of the ratios within each turn. What our program wrote was then compared with the
image, byte for byte, by \`qemu-img compare\`.

A case has a MinIO of its own, on this machine. Where it says memory, MinIO's files, those behind the loop devices and
downloads lay in a tmpfs, so that the work is compared and not this machine's disk; where it says disk, everything of
the case lay there, for all ways alike. The disk inside the images has 10 GiB and holds about 750 MB of files in ext4.

- **lvp** streams, verifies the SHA-256, writes with O_DIRECT, keeps a journal, zeroes the rest and syncs. It is timed
  as a daemon that already runs: a process that has filled a volume from an image of a few MB before, which is not
  timed, then fills one. Its peak is the largest resident memory of that process, from its start. Its processor
  time has that of the programs it calls, the store's is that of MinIO meanwhile.
- **download only** is curl to /dev/null, **write only** is dd with O_DIRECT of as many bytes as the image has data:
  two limits nobody can pass.
- **curl, qemu-img** downloads into a file, then \`qemu-img convert -n -t none -T none\`. Nothing is verified;
  **with sha256sum** in between it is.
- **nbdkit curl, …** converts or copies straight from the store, and verifies nothing.

What bounds our figures is told in [images.md](images.md#what-bounds-its-speed).

${results.map(section).join('\n')}`;
}

export function section({ theCase, image, place, measured }: CaseResult): string {
  const { title, goals, note = '' } = theCase;
  const columns = ['way', 's', 'from–to', 'lvp ÷ this', 'goal', 'peak'];
  const lay = `${place.isMemory ? 'memory' : 'disk'} (${place.folder})`;
  const rows = measured.map((each) => row(each, goals, image));
  return `## ${title}

The object has ${mib(image.sizeBytes)}, data is ${mib(image.dataBytes)} of it. In ${lay}. ${note}

${[columns, columns.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')}

${measured
  .slice(0, 1)
  .map((first) => usageText(first, image))
  .join('')}`;
}

function row(measured: Measured, goals: readonly Goal[], image: BenchImage): string[] {
  const { way, medianS, minS, maxS, ratio, own } = measured;
  const met = goals
    .filter((goal) => goal.way === way.name)
    .map((goal) => goalText(goal, valueOf(goal, measured, image)));
  return [
    ...[way.name, medianS.toFixed(2), `${minS.toFixed(2)}–${maxS.toFixed(2)}`, ratio.toFixed(2)],
    ...[met.join('; '), own === undefined ? '' : `${megabytes(own)} MB`],
  ];
}

function valueOf({ kind }: Goal, { ratio, own }: Measured, image: BenchImage): number {
  if (kind === 'ratio') return ratio;
  if (own === undefined) return Number.NaN;
  return kind === 'peak' ? megabytes(own) : own.storeSentBytes / image.sizeBytes;
}

function goalText({ kind, max }: Goal, value: number): string {
  const wanted = { ratio: `≤ ${max}`, peak: `≤ ${max} MB`, sent: `≤ ${max} downloads` }[kind];
  return `${wanted}: ${value <= max ? 'reached' : '**missed**'}`;
}

function usageText({ medianS, own }: Measured, image: BenchImage): string {
  if (own === undefined) return '';
  const { cpuS, storeCpuS, storeSentBytes, from } = own;
  const sent = `The store sent ${(storeSentBytes / image.sizeBytes).toFixed(2)} × the object`;
  return `CPU: lvp ${cpuS.toFixed(2)} s, store ${storeCpuS.toFixed(2)} s, of ${cpus().length} × ${medianS.toFixed(2)} s.
${sent}; lvp read from: ${[...from].join(', ')}.
`;
}

function megabytes({ peakBytes }: OwnMeasured): number {
  return Math.round(peakBytes / 1e6);
}

function mib(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}

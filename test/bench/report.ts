/** docs/performance.md, out of what was measured. */
import { cpus, loadavg, release, totalmem } from 'node:os';
import type { CaseName } from './cases.ts';
import type { BenchImage, ImageName } from './images.ts';
import type { Measured } from './measure.ts';

export interface CaseResult {
  readonly name: CaseName;
  readonly measured: readonly Measured[];
}

const TITLES: Readonly<Record<CaseName, string>> = {
  raw: 'Raw, the whole disk as one object',
  qcow2: 'qcow2, not compressed',
  zlib: 'qcow2, compressed with zlib',
  zstd: 'qcow2, compressed with zstd',
  tls: 'qcow2 over TLS',
  gigabit: 'qcow2 over a link of 1 Gbit/s',
  eight: 'Eight volumes at once, from one image, without a cache',
};

export function reportText(
  results: readonly CaseResult[],
  images: Record<ImageName, BenchImage>,
  command: string,
  runs: number,
): string {
  const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;
  const sizes = Object.entries(images).map(([name, { sizeBytes }]) => `${name} ${mib(sizeBytes)}`);
  const [cpu] = cpus();
  const machine = `${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}, ${mib(totalmem())}, Linux ${release()}, Node ${process.version}, load ${loadavg()[0]?.toFixed(1) ?? ''}`;
  return `# Performance

Measured ${new Date().toISOString().slice(0, 10)} with \`${command}\`, on: ${machine}. Medians of ${runs} runs;
the ways of one table ran in turn, and the ratio is the median of the ratios within each turn.

MinIO, the images and the files behind the loop devices stand in memory, so that the work is compared and not
this machine's disk. The disk inside the qcow2 images has 10 GiB and holds 700 MB of files in ext4, as does every
volume; a raw object is as long as its disk, so that disk has 900 MiB. Objects: ${sizes.join(', ')}.

- **lvp** streams, verifies the SHA-256, writes with O_DIRECT, zeroes the rest and syncs. Its time is the one of a
  program that already runs, as the daemon does; its peak is the largest resident memory of that process.
- **download only** is curl to /dev/null, **write only** is dd with O_DIRECT: the two limits nobody can pass.
- **curl, qemu-img** downloads into a file, then \`qemu-img convert -n -t none -T none\`. Nothing is verified;
  **with sha256sum** in between it is.
- **nbdkit curl, qemu-img** converts straight from the store, and verifies nothing.

${results.map(table).join('\n')}`;
}

function table({ name, measured }: CaseResult): string {
  const rows = measured.map(({ way, medianS, minS, maxS, ratio, peakBytes }) => {
    const range = `${minS.toFixed(2)}–${maxS.toFixed(2)}`;
    const peak = peakBytes === undefined ? '' : `${Math.round(peakBytes / 1e6)} MB`;
    return `| ${way.name} | ${medianS.toFixed(2)} | ${range} | ${ratio.toFixed(2)} | ${peak} |`;
  });
  return `## ${TITLES[name]}

| way | s | from–to | lvp ÷ this | peak |
| --- | --- | --- | --- | --- |
${rows.join('\n')}
`;
}

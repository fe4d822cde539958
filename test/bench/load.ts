/** npm run load: the HTTP API under load while volumes are filled; see --help. */
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { badTokens, FULL, fillsUnderLoad, fullSpeed, manyJobs, SHORT, soak } from './load-measure.ts';
import { loadText } from './load-report.ts';
import { Stage } from './load-stage.ts';
import { runPart } from './run-part.ts';
import type { Cleanup } from './shell.ts';

const USAGE = `Usage: npm run load -- [OPTIONS]

Sets 64 clients on the HTTP API, over TLS on loopback, while two volumes are filled from a MinIO on this machine, and
prints what they saw, what the fills noticed, and whether the goals are reached. About ten minutes. Needs root, loop
devices, network namespaces, qemu-img, e2fsprogs and openssl.

  --short         two minutes: for a look, not for figures
  --folder DIR    made for the store, the volumes and the ledger (/dev/shm/lvp-load)
  --disk DIR      made for the images (/var/tmp/lvp-load)
  --port N        of MinIO (19410)
  --write         write the report into docs/performance.md, too
  --help          print this
`;

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    folder: { type: 'string', default: '/dev/shm/lvp-load' },
    disk: { type: 'string', default: '/var/tmp/lvp-load' },
    port: { type: 'string', default: '19410' },
    write: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

async function measureAll(cleanup: Cleanup): Promise<string> {
  const durations = values.short ? SHORT : FULL;
  const tell = (what: string) => process.stderr.write(`${what}\n`);
  const [loadBefore = 0] = loadavg();
  tell('setting the stage');
  const stage = await Stage.set(
    { folder: values.folder, disk: values.disk, port: Number(values.port) },
    cleanup,
  );
  tell('all clients at full speed');
  const speed = await fullSpeed(stage, durations);
  tell('lists and status among many jobs');
  const jobs = await manyJobs(stage, durations);
  tell('bad tokens');
  const tokens = await badTokens(stage, durations);
  tell('fills over a link of 1 Gbit/s, alone and under load');
  const linked = await fillsUnderLoad(stage, durations.rounds);
  tell('fills as fast as they can, alone and under load');
  stage.shape(false);
  const unlinked = await fillsUnderLoad(stage, durations.rounds);
  stage.shape(true);
  tell(`fills and clients for ${durations.soakS} s`);
  const soaked = await soak(stage, durations);
  const command = `npm run load${values.short ? ' -- --short' : ''}`;
  return loadText({
    command,
    loadBefore,
    durations,
    speed,
    jobs,
    tokens,
    linked,
    unlinked,
    soaked,
    image: stage.images[0],
  });
}

if (values.help) process.stdout.write(USAGE);
else await runPart('load', values.write, measureAll);

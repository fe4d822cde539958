/** `lvp status VM [--watch]`: one domain, and its fills while they run. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { DomainStatus, VolumeStatus } from '../core/control-protocol.ts';
import { exitCodeOfStatus, isUnderWay } from './exit-codes.ts';
import { domainText, progressLine } from './format.ts';
import type { AddVerb, Context } from './verb.ts';
import { common, contextOf } from './verb.ts';

const WATCH_MS = 500;
/** Plain lines come when a state changes, and after each tenth of the bytes. */
const PLAIN_STEPS = 10;

export const addStatus: AddVerb = (program, finish) => {
  const command = program
    .command('status')
    .argument('<vm>', 'name or UUID of the domain')
    .option('-w, --watch', 'stay until nothing is under way any more, and show progress')
    .description("show a domain's volumes; the exit code says whether all are ready");
  common(command, [
    'lvp status web1',
    'lvp status web1 --watch && virsh start web1',
    'lvp status web1 --json',
  ]).action(async (vm: string, options: { watch?: boolean }, self: Command) => {
    const context = contextOf(self, finish);
    const domain = await (options.watch === true ? watch(context, vm) : context.client.domain(vm));
    if (!context.output.live || options.watch !== true) {
      context.output.result(domain, () => domainText(domain, context.output.colour));
    }
    finish(exitCodeOfStatus(domain));
  });
};

async function watch({ client, output }: Context, vm: string): Promise<DomainStatus> {
  const told = new Map<string, string>();
  for (;;) {
    const domain = await client.domain(vm);
    const isLast = !isUnderWay(domain);
    if (output.live) output.repaint(domainText(domain, output.colour));
    else if (!output.json && !isLast)
      tellNews(domain, told, (line) => {
        output.line(line);
      });
    if (isLast) return domain;
    await sleep(WATCH_MS);
  }
}

function tellNews(domain: DomainStatus, told: Map<string, string>, tell: (line: string) => void): void {
  for (const volume of domain.volumes) {
    const news = `${volume.state} ${stepOf(volume)}`;
    if (told.get(volume.target) === news) continue;
    told.set(volume.target, news);
    tell(`${domain.name} ${progressLine(volume, false)}`);
  }
}

function stepOf({ bytesDone, bytesTotal }: VolumeStatus): number {
  if (bytesDone === undefined || bytesTotal === undefined || bytesTotal === 0) return 0;
  return Math.floor((bytesDone / bytesTotal) * PLAIN_STEPS);
}

/** Showing a domain's fills until nothing is under way any more. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { DomainStatus, VolumeStatus } from '../core/control-protocol.ts';
import { isUnderWay } from './exit-codes.ts';
import { domainText, progressLine } from './format.ts';
import type { Context } from './verb.ts';

const WATCH_MS = 500;
/** Plain lines come when a state changes, and after each tenth of the bytes. */
const PLAIN_STEPS = 10;

/** Resolves with the last state, which has been printed by then. */
export async function watch({ client, output }: Context, vm: string): Promise<DomainStatus> {
  const told = new Map<string, string>();
  for (;;) {
    const domain = await client.domain(vm);
    const isLast = !isUnderWay(domain);
    if (output.live) output.repaint(domainText(domain, output.colour));
    else if (!output.json && !isLast)
      tellNews(domain, told, (line) => {
        output.line(line);
      });
    if (isLast) {
      if (!output.live) output.result(domain, () => domainText(domain, output.colour));
      return domain;
    }
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

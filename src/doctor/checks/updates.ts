/** Whether what runs is what there is, and can be had back. */
import { dirname } from 'node:path/posix';
import type { Check } from '../check.ts';
import { CannotTell, fail, ifThere, info, must, ok, SOURCE, warn } from '../check.ts';
import { LIBRARY, SERVICE } from '../names.ts';
import { shownUnit } from '../unit.ts';
import { outdated } from './libvirt.ts';

const DAY_MS = 86_400_000;
const LISTS_AGE_MAX_MS = 14 * DAY_MS;
const NODE_MAJOR_MIN = 24;
/** Even versions up to this one are supported for three years from an April on; what follows has another calendar. */
const NODE_MAJOR_KNOWN = 26;

/** The end of the month in which an even version of Node is supported no more (nodejs.org, "Releases"). */
function nodeEndsMs(major: number): number | undefined {
  return major % 2 === 0 && major <= NODE_MAJOR_KNOWN ? Date.UTC(2016 + major / 2, 4, 1) : undefined;
}

export const UPDATE_CHECKS: readonly Check[] = [
  {
    id: 'updates.program',
    title: 'the program is the newest that the host knows of',
    why: 'Defects that were found are mended in newer ones only.',
    source: SOURCE.guide('Regular Updates'),
    fix: 'apt install the newer package.',
    look: async (host) => {
      const text = ifThere(await host.run('packages-own'), 'apt') ?? '';
      const old = outdated(text);
      if (old.length > 0) return warn(`a newer one is there: ${old.join(', ')}`);
      const isPackage = /Installed: (?!\(none\))/.test(text);
      return isPackage
        ? ok(host.versions.program)
        : info(`${host.versions.program}, not from a package: nothing tells of newer ones`);
    },
  },
  {
    id: 'updates.daemon-restarted',
    title: 'the daemon that runs is the one that is installed',
    why: 'A process keeps the files it was started with.',
    source: SOURCE.guide('Regular Updates'),
    fix: `systemctl restart ${SERVICE}`,
    look: async (host) => {
      const startedMs = (await shownUnit(host, 'show-daemon')).timeMs('ActiveEnterTimestamp');
      if (startedMs === undefined) throw new CannotTell('the daemon does not run');
      const { ctimeMs } = must(await host.stat(LIBRARY), LIBRARY);
      return ctimeMs <= startedMs
        ? ok('started after it was installed')
        : warn('it was started before the program was last installed');
    },
  },
  {
    id: 'updates.node',
    title: 'Node is supported',
    why: 'A version past its end gets no fixes for what is found in it.',
    source: SOURCE.guide('Security Advisories'),
    fix: 'Install a newer package of this program, which brings its own Node.',
    look: (host) => {
      const { node } = host.versions;
      const major = Number(node.replace(/^v/, '').split('.')[0]);
      if (!(major >= NODE_MAJOR_MIN))
        return Promise.resolve(fail(`${node}; at least ${NODE_MAJOR_MIN} is needed`));
      const endsMs = nodeEndsMs(major);
      if (endsMs === undefined) throw new CannotTell(`until when ${node} is supported is not known here`);
      const until = new Date(endsMs).toISOString().slice(0, 10);
      const leftMs = endsMs - host.nowMs();
      if (leftMs <= 0) return Promise.resolve(fail(`${node}, supported until ${until}`));
      return Promise.resolve(
        leftMs < 90 * DAY_MS ? warn(`${node}, only until ${until}`) : ok(`${node}, until ${until}`),
      );
    },
  },
  {
    id: 'updates.package-lists',
    title: 'the host hears of updates',
    why: 'Whether there is something newer is known only as of the last apt update.',
    source: SOURCE.guide('Regular Updates'),
    fix: 'apt update, or unattended-upgrades.',
    look: async (host) => {
      const folder = ifThere(await host.stat('/var/lib/apt/lists'), '/var/lib/apt/lists');
      if (folder === undefined) return info('there is no apt');
      const days = Math.floor((host.nowMs() - folder.mtimeMs) / DAY_MS);
      return (host.nowMs() - folder.mtimeMs > LISTS_AGE_MAX_MS ? warn : ok)(
        `package lists are ${days} days old`,
      );
    },
  },
  {
    id: 'updates.backups',
    title: 'what is lost with this host',
    why: 'Whether backups are made, and whether they can be read back, is not to be seen from here.',
    source: SOURCE.guide('Deployment Checklist'),
    fix: 'Back up the configuration, and the volumes as any disk of a guest. The ledger need not be: the seals on the volumes bring it back.',
    look: (host) =>
      Promise.resolve(
        info(`back up ${dirname(host.configPath)}, without its keys, and the volumes of guests`),
      ),
  },
];

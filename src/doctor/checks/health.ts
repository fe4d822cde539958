/** Whether the program itself is well. */
import { dirname, join } from 'node:path/posix';
import { frozenProblem, FROZEN_NAME, parseFrozen } from '../../core/frozen.ts';
import type { Check } from '../check.ts';
import { fail, ifThere, info, must, ok, some, SOURCE, warn } from '../check.ts';

/** What is there after a domain has gone, as it should be; the others want somebody to look. */
const EXPECTED_KINDS: readonly string[] = ['orphan', 'ending'];

export const HEALTH_CHECKS: readonly Check[] = [
  {
    id: 'health.config',
    title: 'the configuration is in order',
    why: 'The daemon does not start with one that is not.',
    source: SOURCE.operate('Problems'),
    fix: 'lvp config check says every mistake with its remedy.',
    look: async (host) => {
      const text = ifThere(await host.readText(host.configPath), host.configPath);
      if (text === undefined) return fail(`there is no ${host.configPath}`);
      const config = await host.config();
      // Who may read it need not be one who may read the keys.
      if (config.is === 'unknown' && host.isRoot) return fail(config.why);
      const { warnings } = must(config, host.configPath);
      return warnings.length === 0 ? ok(host.configPath) : warn(some(warnings, 3));
    },
  },
  {
    id: 'health.daemon-answers',
    title: 'the daemon answers',
    why: 'lvp, and every start that is not simply sealed, need its answer.',
    source: SOURCE.operate('Problems'),
    fix: 'See systemctl status libvirt-volume-provisioner.',
    look: async (host) => {
      const domains = await host.domains();
      // Others than root may simply not be allowed to ask.
      if (domains.is === 'unknown' && host.isRoot) return fail(domains.why);
      return ok(`${must(domains, 'the control socket').length} annotated domains`);
    },
  },
  {
    id: 'health.frozen',
    title: 'the host is not frozen',
    why: 'While it is, no annotated domain starts and nothing is filled.',
    source: SOURCE.operate('When something is wrong'),
    fix: 'When the incident is over: lvp incident thaw.',
    look: async (host) => {
      const path = join(dirname(host.configPath), FROZEN_NAME);
      const text = ifThere(await host.readText(path), path);
      return text === undefined ? ok('no') : warn(frozenProblem(parseFrozen(text)).message);
    },
  },
  {
    id: 'health.volumes',
    title: 'no volume waits for a person',
    why: 'A domain whose volume has failed or is refused does not start.',
    source: SOURCE.guide('Log Monitoring'),
    fix: 'lvp status VM says why, and what to do.',
    look: async (host) => {
      const domains = must(await host.domains(), 'the control socket');
      const stuck = domains
        .filter(
          ({ volumes, problems }) =>
            problems.length > 0 || volumes.some(({ state }) => state === 'failed' || state === 'refused'),
        )
        .map(({ name }) => name);
      return stuck.length === 0 ? ok('none') : warn(`failed or refused: ${some(stuck)}`);
    },
  },
  {
    id: 'health.ledger-and-tags',
    title: 'ledger, tags and domains agree',
    why: 'A volume that nobody accounts for was made by somebody else, or is left over.',
    source: SOURCE.guide('If Credentials Are Compromised'),
    fix: 'lvp gc --dry-run shows each with its reason; lvp gc does the repairs that are safe.',
    look: async (host) => {
      const { findings } = must(await host.garbage(), 'the control socket');
      const said = (kinds: typeof findings) => some(kinds.map(({ kind, name }) => `${name} (${kind})`));
      const odd = findings.filter(({ kind }) => !EXPECTED_KINDS.includes(kind));
      if (odd.length > 0) return warn(said(odd));
      return findings.length === 0 ? ok('nothing is left over') : info(said(findings));
    },
  },
];

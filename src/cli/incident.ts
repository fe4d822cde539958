/** `lvp incident`: what is done when something is wrong (docs/operate.md, "When something is wrong"). */
import type { Command } from 'commander';
import { frozenProblem } from '../core/frozen.ts';
import { CONFIG_PATH } from '../core/settings/config-path.ts';
import { addCryptoErase } from './incident/crypto-erase.ts';
import { freezeHost, thawHost } from './incident/freeze.ts';
import type { ExitCode } from './program/exit-codes.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb, Context } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';

const NOBODY_TO_TELL =
  'The daemon was not told, as it does not answer: the hook refuses all starts by itself, and the daemon asks when it comes back.';

export const addIncident: AddVerb = (program, finish) => {
  const incident = program
    .command('incident')
    .description('when something is wrong: freeze, report, thaw, crypto-erase');
  addFreeze(incident, finish);
  addReport(incident, finish);
  addThaw(incident, finish);
  addCryptoErase(incident, finish);
};

function addFreeze(incident: Command, finish: (code: ExitCode) => void): void {
  const freeze = incident
    .command('freeze')
    .option('--reason <text>', 'shown to whoever is refused because of it')
    .option('--config <path>', 'the configuration; the host is frozen by a file beside it', CONFIG_PATH)
    .description('let no annotated domain start and fill nothing, until thawed; running guests go on');
  common(freeze, ['sudo lvp incident freeze --reason "keys leaked, ticket 4711"'], 'host').action(
    async (options: { reason?: string; config: string }, self: Command) => {
      const context = contextOf(self, finish);
      const { frozen, before } = freezeHost(options.config, options.reason);
      const told = await tellDaemon(context);
      const { message } = frozenProblem(frozen);
      context.output.result({ frozen, alreadyFrozen: before, daemonTold: told }, () =>
        [
          before ? `It was frozen already, and stays so. ${message}` : message,
          told
            ? 'Fills have been stopped; what they have written is kept, and they go on when it is thawed.'
            : NOBODY_TO_TELL,
          'Next: sudo lvp incident report --output FILE.tar.gz',
        ].join('\n'),
      );
      finish(EXIT.ok);
    },
  );
}

function addThaw(incident: Command, finish: (code: ExitCode) => void): void {
  const thaw = incident
    .command('thaw')
    .option('--config <path>', 'the configuration', CONFIG_PATH)
    .description('end what freeze began: fills go on, domains may start');
  common(thaw, ['sudo lvp incident thaw'], 'host').action(
    async (options: { config: string }, self: Command) => {
      const context = contextOf(self, finish);
      const wasFrozen = thawHost(options.config);
      const told = wasFrozen && (await tellDaemon(context));
      context.output.result({ wasFrozen, daemonTold: told }, () =>
        !wasFrozen
          ? 'It was not frozen.'
          : `Thawed: fills go on, and domains may start again. None is started by that.${told ? '' : ` ${NOBODY_TO_TELL}`}`,
      );
      finish(EXIT.ok);
    },
  );
}

function addReport(incident: Command, finish: (code: ExitCode) => void): void {
  const report = incident
    .command('report')
    .requiredOption('--output <file>', 'the archive to make (.tar.gz), of mode 0600')
    .option('--config <path>', 'the configuration', CONFIG_PATH)
    .description('state, ledger, volumes, journal and versions of this host in one archive, without secrets');
  common(report, ['sudo lvp incident report --output /root/incident.tar.gz'], 'host').action(
    async (options: { output: string; config: string }, self: Command) => {
      const { daemon, output } = contextOf(self, finish);
      const { makeReport } = await import('./incident/report.ts');
      const index = await makeReport({ configPath: options.config, output: options.output }, daemon);
      const missing = index.parts.flatMap(({ name, missing: why }) =>
        why === undefined ? [] : [`  ${name}: ${why}`],
      );
      output.result(index, () =>
        [
          `${options.output} holds ${index.parts.length - missing.length} of ${index.parts.length} parts. Known secrets are taken out; read it before you pass it on.`,
          ...(missing.length === 0 ? [] : ['Not to be had, which it says itself (index.json):', ...missing]),
        ].join('\n'),
      );
      finish(EXIT.ok);
      // A program that hangs was left alone, and would keep this one from ending.
      setTimeout(() => process.exit(), 500).unref();
    },
  );
}

/** It would find out by itself, but not at once. */
async function tellDaemon({ daemon }: Context): Promise<boolean> {
  try {
    await daemon.look();
    return true;
  } catch {
    return false;
  }
}

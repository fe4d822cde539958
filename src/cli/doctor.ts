/** `lvp doctor`: whether this host is safe and well, as the security documents and the program itself want it. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { CONFIG_PATH, loadConfig } from '../adapters/config-file.ts';
import { LocalHost } from '../adapters/host/local-host.ts';
import { probeStore } from '../adapters/minio-probe.ts';
import { DomainList } from '../core/control-protocol.ts';
import { ProvisionError } from '../core/errors.ts';
import { GarbageReport } from '../core/garbage-protocol.ts';
import { CHECKS } from '../doctor/checks.ts';
import { CHANGES, COMMANDS } from '../doctor/commands.ts';
import { examine } from '../doctor/examine.ts';
import type { Report } from '../doctor/finding.ts';
import type { Answer, Host } from '../doctor/host.ts';
import { HOOK, HOOK_INSTALLED_FROM, HOOKS } from '../doctor/names.ts';
import type { ControlClient } from './control-client.ts';
import { reportText } from './doctor-text.ts';
import type { ExitCode } from './exit-codes.ts';
import { EXIT } from './exit-codes.ts';
import { serviceEnvironment } from './service-environment.ts';
import type { AddVerb } from './verb.ts';
import { common, contextOf } from './verb.ts';

interface DoctorOptions {
  readonly fix?: boolean;
  readonly config: string;
}

export const addDoctor: AddVerb = (program, finish) => {
  const command = program
    .command('doctor')
    .option(
      '--fix',
      'do the repairs that are safe, then look again: rights of our files, our hook, our units',
    )
    .option('--config <path>', 'the configuration', CONFIG_PATH)
    .description('check this host and the program on it, from rights of files to the store’s certificate')
    .addHelpText(
      'after',
      `
Each finding is ok, info, unknown, warn or fail, and says what, why (and which document asks for it), and
how to fix it. It ends with 8 if a check has failed, with 7 if there are warnings or checks that could not
be made, else with 0. Without --fix nothing is changed. As root all checks can be made. Which there are and
where they come from: docs/security.md.`,
    );
  common(command, ['sudo lvp doctor', 'sudo lvp doctor --fix', 'sudo lvp doctor --json']).action(
    async ({ fix = false, config }: DoctorOptions, self: Command) => {
      const { client, output } = contextOf(self, finish);
      const report = await examine(hostOf(config, client), { checks: CHECKS, fix });
      output.result(report, () => reportText(report, output.colour));
      finish(exitCodeOfReport(report));
      // A program or a connection that hangs was left alone, and would keep this one from ending.
      setTimeout(() => process.exit(), 500).unref();
    },
  );
};

/** By the worst of the findings; what could not be looked at is no reason to call a host well. */
export function exitCodeOfReport({ worst }: Pick<Report, 'worst'>): ExitCode {
  if (worst === 'fail') return EXIT.unwell;
  return worst === 'warn' || worst === 'unknown' ? EXIT.warnings : EXIT.ok;
}

function hostOf(configPath: string, client: ControlClient): Host {
  const local = new LocalHost({
    commands: COMMANDS,
    changes: CHANGES,
    hook: { from: HOOK_INSTALLED_FROM, to: HOOK, staged: `${HOOKS}/libvirt-volume-provisioner.new` },
  });
  const load = () => loadConfig({ path: configPath, env: serviceEnvironment(configPath) });
  return {
    isRoot: process.getuid?.() === 0,
    versions: { program: programVersion(), node: process.version },
    configPath,
    nowMs: () => Date.now(),
    readText: (path) => local.readText(path),
    stat: (path) => local.stat(path),
    list: (folder) => local.list(folder),
    run: (command) => local.run(command),
    listeners: (pid) => local.listeners(pid),
    hostListeners: () => local.hostListeners(),
    setRights: (path, rights) => local.setRights(path, rights),
    installHook: () => local.installHook(),
    change: (command) => local.change(command),
    config: () =>
      answerOf(() => {
        const { config, warnings } = load();
        return Promise.resolve({ ...config, warnings });
      }),
    store: () =>
      answerOf(() => {
        const { minio } = load().config;
        const keys = { accessKey: minio.accessKey.reveal(), secretKey: minio.secretKey.reveal() };
        return probeStore({ ...minio, ...keys });
      }),
    domains: () => answerOf(() => client.call(DomainList, 'GET', '/v1/domains')),
    garbage: () => answerOf(() => client.call(GarbageReport, 'POST', '/v1/gc', { dryRun: true })),
  };
}

async function answerOf<T>(ask: () => Promise<T>): Promise<Answer<T>> {
  try {
    return { is: 'known', value: await ask() };
  } catch (error) {
    const { message } = error as Error;
    const hint = error instanceof ProvisionError && error.hint !== undefined ? ` ${error.hint}` : '';
    return { is: 'unknown', why: `${message}${hint}` };
  }
}

function programVersion(): string {
  const about = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(about) as { version: string }).version;
}

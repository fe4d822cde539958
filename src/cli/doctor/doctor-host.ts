/** The work of `lvp doctor`, apart from its options: what it needs takes time to load. */
import { loadConfig } from '../../adapters/config-file.ts';
import { LocalHost } from '../../adapters/host/local-host.ts';
import { probeKeyServer } from '../../adapters/key/probe.ts';
import { probeStore } from '../../adapters/minio/probe.ts';
import { programVersion } from '../../adapters/program-version.ts';
import { ProvisionError } from '../../core/errors.ts';
import { CHECKS } from '../../doctor/checks.ts';
import { CHANGES, COMMANDS } from '../../doctor/commands.ts';
import { examine } from '../../doctor/examine.ts';
import type { Report } from '../../doctor/finding.ts';
import type { Answer, Host } from '../../doctor/host.ts';
import { HOOK, HOOK_INSTALLED_FROM, HOOKS } from '../../doctor/names.ts';
import type { Daemon } from '../daemon.ts';
import { serviceEnvironment } from '../program/service-environment.ts';

/** All checks on this machine, and with `fix` the safe repairs. */
export function examineHost(configPath: string, daemon: Daemon, fix: boolean): Promise<Report> {
  return examine(hostOf(configPath, daemon), { checks: CHECKS, fix });
}

function hostOf(configPath: string, daemon: Daemon): Host {
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
    keyServer: async () => {
      const loaded = await answerOf(() => Promise.resolve(load().config.keys));
      if (loaded.is !== 'known') return loaded;
      const { barbican } = loaded.value;
      return barbican === undefined ? { is: 'absent' } : answerOf(() => probeKeyServer(barbican));
    },
    domains: () => answerOf(() => daemon.domains()),
    garbage: () => answerOf(() => daemon.collectGarbage({ dryRun: true })),
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

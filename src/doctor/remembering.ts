/** A host that is asked each question once: many checks want the same answer, and a repair wants a new one. */
import type { Host } from './host.ts';

/** Everything is asked anew of the host that comes back. */
export function remembering(host: Host): Host {
  const answers = new Map<string, unknown>();
  const once = <T>(key: string, ask: () => Promise<T>): Promise<T> => {
    const known = answers.get(key) as Promise<T> | undefined;
    if (known !== undefined) return known;
    const asked = ask();
    answers.set(key, asked);
    return asked;
  };
  return {
    isRoot: host.isRoot,
    versions: host.versions,
    configPath: host.configPath,
    nowMs: () => host.nowMs(),
    readText: (path) => once(`read ${path}`, () => host.readText(path)),
    stat: (path) => once(`stat ${path}`, () => host.stat(path)),
    list: (folder) => once(`list ${folder}`, () => host.list(folder)),
    run: (command) => once(`run ${command}`, () => host.run(command)),
    listeners: (pid) => once(`listeners ${pid}`, () => host.listeners(pid)),
    hostListeners: () => once('listeners', () => host.hostListeners()),
    config: () => once('config', () => host.config()),
    keyServer: () => once('key server', () => host.keyServer()),
    store: () => once('store', () => host.store()),
    domains: () => once('domains', () => host.domains()),
    garbage: () => once('garbage', () => host.garbage()),
    setRights: (path, rights) => host.setRights(path, rights),
    installHook: () => host.installHook(),
    change: (command) => host.change(command),
  };
}

/** The gate's hook: in its place, ours, and known to the libvirt that runs. */
import { join } from 'node:path/posix';
import type { Check, Verdict } from '../check.ts';
import { CannotTell, fail, ifThere, must, octal, ok, SOURCE, warn } from '../check.ts';
import type { ChangeName } from '../commands.ts';
import type { FileFacts, Host, HostFacts } from '../host.ts';
import { HOOK, HOOK_DAEMONS, HOOK_INSTALLED_FROM, HOOKS } from '../names.ts';
import type { Shown } from '../settings.ts';
import { readShown } from '../settings.ts';

const GATE = SOURCE.design('The gate');
const REINSTALL = `Install ${HOOK_INSTALLED_FROM} there with mode 0755, then reload libvirtd.`;
const RELOADS: Readonly<Record<(typeof HOOK_DAEMONS)[number], ChangeName>> = {
  libvirtd: 'reload-libvirtd',
  virtqemud: 'reload-virtqemud',
};

/** The daemons of libvirt that run now. One that does not looks for hooks when it is started. */
async function runningDaemons(host: HostFacts): Promise<readonly Shown[]> {
  return readShown(must(await host.run('show-libvirt'), 'systemctl show')).filter(
    (unit) => unit.get('ActiveState') === 'active',
  );
}

async function reloadLibvirt(host: Host): Promise<string> {
  const running = (await runningDaemons(host)).map((unit) => unit.get('Id').replace(/\.service$/, ''));
  const daemons = HOOK_DAEMONS.filter((daemon) => running.includes(daemon));
  for (const daemon of daemons) await host.change(RELOADS[daemon]);
  return daemons.length === 0
    ? 'libvirt does not run, so it need not be reloaded'
    : `reloaded ${daemons.join(', ')}`;
}

/** One and the same function for all checks of the file, so that it is done once. */
async function installHook(host: Host): Promise<string> {
  await host.installHook();
  return `installed ${HOOK}; ${await reloadLibvirt(host)}`;
}

/** The hook's own file; the verdict instead if there is none. */
async function onHook(host: HostFacts, judge: (facts: FileFacts) => Verdict): Promise<Verdict> {
  const facts = ifThere(await host.stat(HOOK), HOOK);
  if (facts === undefined) throw new CannotTell(`there is no ${HOOK}`);
  return judge(facts);
}

/**
 * libvirt notes at its start and at a reload whether there is any hook for QEMU, and if there is one reads the
 * folder at each call. So every executable hook that was there at that moment makes ours known.
 */
async function hooksAtTheTime(host: HostFacts, timeMs: number): Promise<boolean> {
  const names = ifThere(await host.list(join(HOOKS, 'qemu.d')), 'qemu.d') ?? [];
  for (const path of [join(HOOKS, 'qemu'), ...names.map((name) => join(HOOKS, 'qemu.d', name))]) {
    const facts = ifThere(await host.stat(path), path);
    if (facts?.kind === 'file' && (facts.mode & 0o100) !== 0 && facts.ctimeMs <= timeMs) return true;
  }
  return false;
}

export const HOOK_CHECKS: readonly Check[] = [
  {
    id: 'hook.present',
    title: 'the hook is in its place',
    why: 'libvirt asks nobody when it is missing. What is not finished has no name to be started by, but a copy from before, or a volume set aside, would be let through.',
    source: GATE,
    fix: REINSTALL,
    look: async (host) =>
      ifThere(await host.stat(HOOK), HOOK) === undefined ? fail(`there is no ${HOOK}`) : ok(HOOK),
    repair: installHook,
  },
  {
    id: 'hook.executable',
    title: 'the hook can be run',
    why: 'One that is not executable is passed over by libvirt, as if it were not there.',
    source: GATE,
    fix: REINSTALL,
    look: (host) =>
      onHook(host, ({ kind, mode }) =>
        kind === 'file' && (mode & 0o111) === 0o111
          ? ok(octal(mode))
          : fail(kind === 'file' ? `its mode is ${octal(mode)}` : `it is a ${kind}`),
      ),
    repair: installHook,
  },
  {
    id: 'hook.owner',
    title: 'only root may change the hook',
    why: 'libvirt runs it as root.',
    source: GATE,
    fix: REINSTALL,
    look: (host) =>
      onHook(host, ({ uid, mode }) =>
        uid === 0 && (mode & 0o022) === 0
          ? ok(`root, ${octal(mode)}`)
          : fail(`user ${uid}, mode ${octal(mode)}`),
      ),
    repair: installHook,
  },
  {
    id: 'hook.unchanged',
    title: 'the hook is the one that is installed',
    why: 'One of another version may not understand the daemon; one that was changed may let anything through.',
    source: GATE,
    fix: REINSTALL,
    look: async (host) => {
      const ours = must(await host.readText(HOOK_INSTALLED_FROM), HOOK_INSTALLED_FROM);
      return must(await host.readText(HOOK), HOOK) === ours
        ? ok(`equal to ${HOOK_INSTALLED_FROM}`)
        : fail(`it differs from ${HOOK_INSTALLED_FROM}`);
    },
    repair: installHook,
  },
  {
    id: 'hook.known',
    title: 'the running libvirt knows that there is a hook',
    why: 'It looks for hooks when it starts and when it is reloaded, and not in between.',
    source: GATE,
    fix: 'systemctl reload libvirtd (or virtqemud). Running guests do not notice.',
    look: async (host) => {
      if (ifThere(await host.stat(HOOK), HOOK) === undefined) throw new CannotTell(`there is no ${HOOK}`);
      const daemons = await runningDaemons(host);
      if (daemons.length === 0) return ok('libvirt does not run; it looks when it is started');
      for (const daemon of daemons) {
        // The end of a reload is a change of state; a SIGHUP that did not come from systemd is not seen.
        const lookedMs = daemon.timeMs('StateChangeTimestamp') ?? daemon.timeMs('ActiveEnterTimestamp');
        if (lookedMs === undefined) throw new CannotTell('systemd does not say when libvirt was started');
        if (await hooksAtTheTime(host, lookedMs)) continue;
        return warn(
          `${daemon.get('Id')} was last started or reloaded, as far as systemd knows, before any hook of QEMU got its present form; whether it knows cannot be told`,
        );
      }
      return ok('a hook was there when libvirt was last started or reloaded');
    },
    repair: reloadLibvirt,
  },
];

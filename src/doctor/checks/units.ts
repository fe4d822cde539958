/** Our three units as they are loaded, and the daemon as the kernel has it. */
import type { Check, Verdict } from '../check.ts';
import { CannotTell, fail, ifThere, info, must, ok, some, SOURCE, warn } from '../check.ts';
import type { CommandName } from '../commands.ts';
import type { HostFacts } from '../host.ts';
import { HELPER_SOCKET, SERVICE, SOCKET, USER } from '../names.ts';
import { account, readShown } from '../settings.ts';
import { daemonPid, shownUnit } from '../unit.ts';
import { SANDBOX_CHECKS } from './units-sandbox.ts';

const REINSTALL = 'Install the package again.';

async function isEnabled(host: HostFacts, command: CommandName): Promise<Verdict> {
  const state = (await shownUnit(host, command)).get('UnitFileState');
  if (['enabled', 'enabled-runtime', 'static'].includes(state)) return ok(state);
  if (state === 'masked')
    return fail('masked', { repairable: false, fix: 'Somebody masked it: systemctl unmask.' });
  return fail(state === '' ? 'not enabled' : state);
}

const RUNNING: readonly Check[] = [
  {
    id: 'units.daemon.running',
    title: 'the daemon runs',
    why: 'Without it nothing is filled, and only sealed volumes start.',
    source: SOURCE.operate('When something is lost'),
    fix: `See systemctl status ${SERVICE}, and lvp config check.`,
    look: async (host) => {
      const answer = must(await host.run('show-daemon'), 'systemctl show');
      const [unit] = readShown(answer);
      if (unit?.get('LoadState') !== 'loaded') return fail('the unit is not installed', { fix: REINSTALL });
      const state = `${unit.get('ActiveState')} (${unit.get('SubState')})`;
      return unit.get('ActiveState') === 'active' ? ok(state) : fail(state);
    },
  },
  {
    id: 'units.daemon.enabled',
    title: 'the daemon is started at boot',
    why: 'Domains that start by themselves at boot need its answer.',
    source: SOURCE.guide('Systemd Security'),
    fix: `systemctl enable ${SERVICE}`,
    look: (host) => isEnabled(host, 'show-daemon'),
    repair: async (host) => {
      await host.change('enable-daemon');
      return `enabled ${SERVICE}`;
    },
  },
  {
    id: 'units.daemon.before-libvirt',
    title: 'the gate answers before libvirt starts its first guest',
    why: 'The guide has After=libvirtd.service: then the gate is closed while libvirt starts domains at boot.',
    source: `${SOURCE.guide('Systemd Security')}, corrected`,
    fix: `Take away the drop-in that changes the order: systemctl cat ${SERVICE}.`,
    look: async (host) => {
      const before = (await shownUnit(host, 'show-daemon')).words('Before');
      return before.includes('libvirtd.service') && before.includes('virtqemud.service')
        ? ok('before libvirtd and virtqemud')
        : fail('it is not ordered before libvirtd and virtqemud');
    },
  },
  {
    id: 'units.daemon.restarts',
    title: 'the daemon does not die again and again',
    why: 'What dies often is attacked, short of memory, or has a defect; systemd starts it again without a word.',
    source: SOURCE.guide('Log Monitoring'),
    fix: `See why: journalctl -u ${SERVICE} -p warning.`,
    look: async (host) => {
      const restarts = Number((await shownUnit(host, 'show-daemon')).get('NRestarts'));
      if (Number.isNaN(restarts)) throw new CannotTell('systemd does not count restarts');
      return (restarts < 3 ? ok : warn)(`started again by itself ${restarts} times`);
    },
  },
  {
    id: 'units.socket.active',
    title: "the helper's socket listens",
    why: 'Without the helper no volume can be made, published or listed.',
    source: SOURCE.design('Rights'),
    fix: `systemctl start ${SOCKET}`,
    look: async (host) => {
      const state = (await shownUnit(host, 'show-socket')).get('ActiveState');
      return state === 'active' ? ok(state) : fail(state);
    },
  },
  {
    id: 'units.socket.enabled',
    title: "the helper's socket is there after a boot",
    why: 'Without the helper no volume can be made, published or listed.',
    source: SOURCE.design('Rights'),
    fix: `systemctl enable ${SOCKET}`,
    look: (host) => isEnabled(host, 'show-socket'),
    repair: async (host) => {
      await host.change('enable-socket');
      return `enabled ${SOCKET}`;
    },
  },
  {
    id: 'units.socket.rights',
    title: "only the service's user can talk to the helper",
    why: 'The helper is root; it checks each request again, but who may ask is decided by these rights alone.',
    source: SOURCE.design('Rights'),
    fix: `Take away the drop-in that changes it (systemctl cat ${SOCKET}), then systemctl restart ${SOCKET}.`,
    look: async (host) => {
      const unit = await shownUnit(host, 'show-socket');
      const said = `${unit.get('Listen')}, ${unit.get('SocketUser')}:${unit.get('SocketGroup')} ${unit.get('SocketMode')}`;
      const isOurs =
        unit.get('Listen') === `${HELPER_SOCKET} (Stream)` &&
        unit.get('SocketUser') === USER &&
        /^0?600$/.test(unit.get('SocketMode'));
      if (!isOurs) return fail(said);
      const user = await account(host, '/etc/passwd', USER);
      const file = must(await host.stat(HELPER_SOCKET), HELPER_SOCKET);
      return file.uid === user?.id && (file.mode & 0o177) === 0
        ? ok(said)
        : fail(`${HELPER_SOCKET} has other rights than the unit says`);
    },
  },
];

const LOADED = (name: 'daemon' | 'helper' | 'socket', command: CommandName): readonly Check[] => [
  {
    id: `units.${name}.loaded`,
    title: `the ${name} unit is loaded as it stands on disk`,
    why: 'What was edited counts only after systemctl daemon-reload, and a process keeps what it was started with.',
    source: SOURCE.guide('Systemd Security'),
    fix: 'systemctl daemon-reload, then restart the unit.',
    look: async (host) => {
      const unit = await shownUnit(host, command);
      if (unit.get('NeedDaemonReload') === 'yes') return warn('files were changed since they were loaded');
      const dropIns = unit.words('DropInPaths');
      return dropIns.length === 0 ? ok('no drop-ins') : info(`with drop-ins: ${some(dropIns)}`);
    },
  },
];

/** `NoNewPrivs: 1` and the like; what the kernel holds a running process to, whatever its unit says now. */
const PROCESS: Check = {
  id: 'units.daemon.process',
  title: 'the running daemon is held to it by the kernel',
  why: 'A unit may have been changed, or hardened, after its process was started.',
  source: SOURCE.guide('Systemd Security'),
  fix: `systemctl restart ${SERVICE}`,
  look: async (host) => {
    const path = `/proc/${await daemonPid(host)}/status`;
    const text = must(await host.readText(path), path);
    const field = (name: string) => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(text)?.[1] ?? '';
    const user = await account(host, '/etc/passwd', USER);
    const mistakes = [
      ...(field('NoNewPrivs') === '1' ? [] : ['it may gain privileges (NoNewPrivs)']),
      ...(/^0+$/.test(field('CapEff')) && /^0+$/.test(field('CapBnd'))
        ? []
        : ['it has capabilities, or may get some']),
      ...(field('Seccomp') === '2' ? [] : ['no system call is refused (Seccomp)']),
      ...(field('Uid') === String(user?.id) ? [] : [`it runs as user ${field('Uid')}`]),
    ];
    return mistakes.length === 0
      ? ok('no new privileges, no capabilities, seccomp, own user')
      : fail(mistakes.join('; '));
  },
};

/** `attr/current` of the kernel's AppArmor: the profile's name, and how it is meant. */
const APPARMOR: Check = {
  id: 'units.daemon.apparmor',
  title: 'where AppArmor is on, the daemon runs under its profile',
  why: 'A barrier beside that of systemd, and one that a changed unit does not take away.',
  source: SOURCE.notes('2.1.2'),
  fix: `apparmor_parser --replace /etc/apparmor.d/${USER}, then systemctl restart ${SERVICE}; see docs/confinement.md.`,
  look: async (host) => {
    const enabled = await host.readText('/sys/module/apparmor/parameters/enabled');
    if (ifThere(enabled, 'AppArmor')?.trim() !== 'Y') return ok('this kernel has it not switched on');
    const path = `/proc/${await daemonPid(host)}/attr/current`;
    const [, profile = '', mode = ''] =
      /^(\S+)(?: \((\w+)\))?/.exec(must(await host.readText(path), path)) ?? [];
    if (profile !== USER) return warn(`it runs under ${profile === '' ? 'none' : profile}`);
    return ok(mode === 'enforce' ? 'it enforces' : 'it only complains, as it is installed');
  },
};

export const UNIT_CHECKS: readonly Check[] = [
  ...RUNNING,
  ...LOADED('daemon', 'show-daemon'),
  ...LOADED('helper', 'show-helper'),
  ...LOADED('socket', 'show-socket'),
  PROCESS,
  APPARMOR,
  ...SANDBOX_CHECKS,
];

/** libvirt's own settings, as far as the safety of volumes and guests depends on them. */
import type { Check, Verdict } from '../check.ts';
import { CannotTell, fail, ifThere, info, must, octal, ok, some, SOURCE, warn } from '../check.ts';
import type { FileFacts, HostFacts } from '../host.ts';
import { BUS_POLICY, LIBVIRT_GROUP, USER } from '../names.ts';
import { account, libvirtSettings, readShown } from '../settings.ts';
import { daemonPid } from '../unit.ts';

const MIGRATION = SOURCE.usage('Guest migration network');
const RIGHTS = SOURCE.usage('review');
const WILDCARDS = ['0.0.0.0', '::', '[::]'];
const RELOAD = 'then systemctl restart libvirtd (or virtqemud)';

/** Of libvirt's one daemon, or of that which takes connections from elsewhere for the modular ones. */
const SOCKET = '/run/libvirt/libvirt-sock';
/** Of the daemon that has the guests, where libvirt is modular. */
const MODULAR_SOCKET = '/run/libvirt/virtqemud-sock';

/** Which file holds the settings for whoever comes to which socket. */
async function socketSettings(host: HostFacts): Promise<readonly { socket: string; file: string }[]> {
  return (await host.stat(MODULAR_SOCKET)).is === 'absent'
    ? [{ socket: SOCKET, file: 'libvirtd.conf' }]
    : [
        { socket: SOCKET, file: 'virtproxyd.conf' },
        { socket: MODULAR_SOCKET, file: 'virtqemud.conf' },
      ];
}

/** What counts for connections over the network. */
async function networkSettings(host: HostFacts): Promise<ReadonlyMap<string, string>> {
  const [first] = await socketSettings(host);
  return libvirtSettings(host, first?.file ?? '');
}

/** One setting of libvirt's, judged. */
async function setting(
  host: HostFacts,
  file: 'qemu.conf',
  key: string,
  judge: (value: string | undefined) => Verdict,
): Promise<Verdict> {
  return judge((await libvirtSettings(host, file)).get(key));
}

const shown = (key: string, value: string | undefined) =>
  value === undefined ? `${key} is not set` : `${key} = ${value}`;

/** What may take connections for libvirt: a socket unit, or libvirtd itself with --listen, on its usual port. */
async function listensFor(host: HostFacts, kind: 'tcp' | 'tls', port: number): Promise<string | undefined> {
  const units = readShown(must(await host.run('show-libvirt-sockets'), 'systemctl show'));
  const active = units.find(
    (unit) => unit.get('Id').endsWith(`-${kind}.socket`) && unit.get('ActiveState') === 'active',
  );
  if (active !== undefined) return `${active.get('Id')} is active`;
  const found = must(await host.hostListeners(), 'listening sockets').find((address) =>
    address.endsWith(`:${port}`),
  );
  return found === undefined ? undefined : `something listens at ${found}`;
}

async function judgeSocket(
  host: HostFacts,
  path: string,
  { mode }: FileFacts,
  file: string,
): Promise<Verdict> {
  if ((mode & 0o006) === 0) return ok(`${path} ${octal(mode)}`);
  const auth = (await libvirtSettings(host, file)).get('auth_unix_rw');
  return auth === 'none'
    ? fail(`${path} is open to all, and auth_unix_rw is none in ${file}`)
    : ok(`${path} is open to all, judged by ${auth ?? 'polkit'}`);
}

const NETWORK: readonly Check[] = [
  {
    id: 'libvirt.listen-tcp',
    title: 'libvirt takes no unencrypted connections',
    why: 'Who may write domain XML owns the whole host, and with auth_tcp = "none" that is everybody who reaches the port.',
    source: RIGHTS,
    fix: 'systemctl disable --now libvirtd-tcp.socket (or virtproxyd-tcp.socket), and no listen_tcp = 1 in libvirtd.conf (or virtproxyd.conf). Use ssh, or TLS.',
    look: async (host) => {
      const listens = await listensFor(host, 'tcp', 16509);
      const settings = await networkSettings(host);
      if (listens !== undefined) return fail(`${listens}; ${shown('auth_tcp', settings.get('auth_tcp'))}`);
      return settings.get('listen_tcp') === '1'
        ? warn('listen_tcp = 1, though nothing listens now')
        : ok('nothing listens');
    },
  },
  {
    id: 'libvirt.listen-tls',
    title: 'libvirt over TLS checks who comes',
    why: 'Each certificate that the authority has signed may do everything, unless tls_allowed_dn_list says whose.',
    source: `${SOURCE.guide('Mutual TLS')}; ${RIGHTS}`,
    fix: 'Take tls_no_verify_certificate out of libvirtd.conf (or virtproxyd.conf) and set tls_allowed_dn_list, then restart that daemon.',
    look: async (host) => {
      const listens = await listensFor(host, 'tls', 16514);
      if (listens === undefined) return ok('nothing listens');
      const settings = await networkSettings(host);
      if (settings.get('tls_no_verify_certificate') === '1')
        return fail(`${listens}, and no certificate is checked`);
      return settings.has('tls_allowed_dn_list') || settings.get('auth_tls') === 'sasl'
        ? ok(listens)
        : warn(`${listens}, for everybody whom the authority knows`);
    },
  },
  {
    id: 'libvirt.socket',
    title: 'not every local user may command libvirt',
    why: 'Who may write domain XML owns the whole host.',
    source: RIGHTS,
    fix: 'Set SocketMode=0660 and SocketGroup=libvirt for libvirtd.socket (or virtqemud.socket and virtproxyd.socket), or auth_unix_rw = "polkit".',
    look: async (host) => {
      const verdicts: Verdict[] = [];
      for (const { socket, file } of await socketSettings(host)) {
        const facts = ifThere(await host.stat(socket), 'the socket of libvirt');
        if (facts !== undefined) verdicts.push(await judgeSocket(host, socket, facts, file));
      }
      const [first] = verdicts;
      if (first === undefined) throw new CannotTell(`there is no ${SOCKET}`);
      return verdicts.find(({ severity }) => severity !== 'ok') ?? first;
    },
  },
  {
    id: 'libvirt.group',
    title: 'who is in the group libvirt',
    why: 'Its members write domain XML, so they own the whole host; sVirt protects guests from each other and not from them.',
    source: `${RIGHTS}; ${SOURCE.notes('2.1')}`,
    fix: `gpasswd -d PERSON ${LIBVIRT_GROUP}, for those who are not trusted as root is.`,
    look: async (host) => {
      const members = (await account(host, '/etc/group', LIBVIRT_GROUP))?.members ?? [];
      return members.length === 0 ? ok('nobody') : info(`as good as root: ${some(members)}`);
    },
  },
  {
    id: 'libvirt.migration-address',
    title: 'guests arrive on an address that only hosts reach',
    why: 'Memory of guests goes over it, and anybody who reaches it can disturb.',
    source: MIGRATION,
    fix: `Set migration_address in qemu.conf to this host's address in the network of the hosts, ${RELOAD}.`,
    look: (host) =>
      setting(host, 'qemu.conf', 'migration_address', (value) => {
        if (value === undefined)
          return info('migration_address is not set: QEMU listens on all addresses while a guest arrives');
        return WILDCARDS.includes(value)
          ? warn(`migration_address = ${value}: all addresses`)
          : ok(`migration_address = ${value}`);
      }),
  },
  {
    id: 'libvirt.migration-tls',
    title: 'migration is encrypted',
    why: 'Otherwise memory and copied disks can be read and changed on the way.',
    source: MIGRATION,
    fix: `Set migrate_tls_force = 1 in qemu.conf once certificates are there, ${RELOAD}; or migrate with --tunnelled or --tls.`,
    look: (host) =>
      setting(host, 'qemu.conf', 'migrate_tls_force', (value) =>
        value === '1' ? ok('migrate_tls_force = 1') : info('it is for each migration to ask for it (--tls)'),
      ),
  },
];

const GUESTS: readonly Check[] = [
  {
    id: 'libvirt.format-probing',
    title: 'formats of disks are never guessed',
    why: 'A guest writes a qcow2 header with a backing file into its raw disk, and reads files of the host (as in CVE-2024-4467).',
    source: SOURCE.usage('Disk image format probing'),
    fix: `Take allow_disk_format_probing out of qemu.conf, ${RELOAD}.`,
    look: (host) =>
      setting(host, 'qemu.conf', 'allow_disk_format_probing', (value) =>
        value === '1' ? fail('allow_disk_format_probing = 1') : ok(shown('allow_disk_format_probing', value)),
      ),
  },
  {
    id: 'libvirt.confinement',
    title: 'guests are confined by SELinux or AppArmor',
    why: 'A guest that breaks out of QEMU then still has its own disks only.',
    source: SOURCE.notes('2.1.2'),
    fix: 'Switch SELinux (enforcing) or AppArmor on, and take security_driver = "none" out of qemu.conf.',
    look: async (host) => {
      const settings = await libvirtSettings(host, 'qemu.conf');
      if (settings.get('security_driver')?.includes('none')) return fail('security_driver = none');
      if (settings.get('security_default_confined') === '0') return fail('security_default_confined = 0');
      const selinux = ifThere(await host.readText('/sys/fs/selinux/enforce'), 'SELinux')?.trim();
      const apparmor = ifThere(
        await host.readText('/sys/module/apparmor/parameters/enabled'),
        'AppArmor',
      )?.trim();
      if (selinux === '1') return ok('SELinux enforces');
      if (apparmor === 'Y') return ok('AppArmor is on');
      return warn(selinux === '0' ? 'SELinux is permissive' : 'this kernel has neither switched on');
    },
  },
  {
    id: 'libvirt.guest-user',
    title: 'guests do not run as root',
    why: 'A guest that breaks out of QEMU would be root.',
    source: SOURCE.notes('2.1'),
    fix: `Take user = "root" out of qemu.conf, ${RELOAD}.`,
    look: (host) =>
      setting(host, 'qemu.conf', 'user', (value) =>
        ['root', '0', '+0'].includes(value ?? '')
          ? fail(`user = ${value ?? ''}`)
          : ok(value ?? 'the default of the distribution'),
      ),
  },
  {
    id: 'libvirt.lock-manager',
    title: 'two guests cannot run on one volume',
    why: 'Two domains that name one volume, on this host or on one that sees the same storage, destroy it.',
    source: SOURCE.design('The gate'),
    fix: `Set lock_manager = "lockd" in qemu.conf, and lvm_lockspace_dir in qemu-lockd.conf, ${RELOAD}.`,
    look: (host) =>
      setting(host, 'qemu.conf', 'lock_manager', (value) =>
        value === 'lockd' || value === 'sanlock'
          ? ok(`lock_manager = ${value}`)
          : info('there is no lock manager'),
      ),
  },
  {
    id: 'libvirt.dbus-rights',
    title: 'the daemon may call what it needs of libvirt, and no more',
    why: 'Without its policy of the bus it hears of no domain; as a member of the group libvirt it is as good as root.',
    source: SOURCE.design('Rights'),
    fix: 'Take away the drop-in that sets SupplementaryGroups=, install the package again, then systemctl reload dbus and restart the daemon.',
    look: async (host) => {
      const status = `/proc/${await daemonPid(host)}/status`;
      const text = must(await host.readText(status), status);
      const groups = /^Groups:(.*)$/m.exec(text)?.[1]?.trim().split(/\s+/) ?? [];
      const group = await account(host, '/etc/group', LIBVIRT_GROUP);
      if (group !== undefined && groups.includes(String(group.id))) {
        return fail(`the daemon is a member of ${LIBVIRT_GROUP}`);
      }
      const policy = ifThere(await host.readText(BUS_POLICY), BUS_POLICY);
      if (policy === undefined) return fail(`${BUS_POLICY} is missing`);
      const allowed = [...policy.matchAll(/<allow ([^>]*)\/>/g)].map(([, attributes = '']) => attributes);
      const isNarrow = allowed.every(
        (one) => one.includes('send_interface=') && one.includes('send_member='),
      );
      return isNarrow && policy.includes(`<policy user="${USER}">`)
        ? ok(`${allowed.length} methods`)
        : fail(`${BUS_POLICY} is not ours`);
    },
  },
  {
    id: 'libvirt.dbus-answers',
    title: 'libvirt answers over D-Bus',
    why: 'All that the daemon knows of domains and pools comes that way.',
    source: SOURCE.design('Events'),
    fix: 'See systemctl status libvirtd and journalctl -t libvirt-dbus; is the package libvirt-dbus there?',
    look: async (host) => {
      const answer = await host.run('libvirt-over-dbus');
      if (answer.is === 'absent') throw new CannotTell('there is no busctl to ask with');
      if (answer.is === 'known') {
        return ok(`org.libvirt, version ${answer.value.trim().replace(/^t /, '')}`);
      }
      // The bus lets root and the group libvirt ask for this.
      if (!host.isRoot) throw new CannotTell(answer.why);
      return fail(answer.why);
    },
  },
  {
    id: 'libvirt.packages',
    title: 'libvirt, QEMU and LVM are the newest the host knows of',
    why: 'Most ways out of a guest are closed by updates.',
    source: SOURCE.guide('Security Advisories'),
    fix: 'apt update && apt upgrade; watch the advisories of libvirt, QEMU and MinIO.',
    look: async (host) => {
      const text = ifThere(await host.run('packages-below'), 'apt');
      if (text === undefined) return info('there is no apt to ask; see what the distribution offers');
      if (!/Installed: (?!\(none\))/.test(text)) return info('none of them is a package of this host');
      const old = outdated(text);
      return old.length === 0
        ? ok('as far as the package lists of this host say')
        : warn(`newer ones are there: ${some(old)}`);
    },
  },
];

/** Installed packages of `apt-cache policy` that have a newer candidate. */
export function outdated(text: string): readonly string[] {
  return [...text.matchAll(/^(\S+):\n\s+Installed: (\S+)\n\s+Candidate: (\S+)/gm)].flatMap(
    ([, name = '', installed = '', candidate = '']) =>
      installed === '(none)' || installed === candidate ? [] : [`${name} ${installed} (${candidate})`],
  );
}

export const LIBVIRT_CHECKS: readonly Check[] = [...NETWORK, ...GUESTS];

/**
 * What the units' restrictions refuse, tried from inside of them: a program runs under a copy of a unit and tries
 * everything, and again under copies that lack one restriction each.
 */
import type { Host } from './host.ts';

/** Lines of a unit, by their names, and what can be done without them and not with them. */
export type Restrictions = Readonly<Record<string, readonly string[]>>;

/** NoNewPrivileges is not among them: for a user who is not root, systemd derives it from most of the others. */
export const DAEMON_RESTRICTIONS: Restrictions = {
  CapabilityBoundingSet: ['capabilities'],
  'DevicePolicy DeviceAllow': ['device'],
  LimitCORE: ['core dump'],
  LimitNOFILE: ['many files'],
  LockPersonality: ['personality'],
  MemoryMax: ['much memory'],
  PrivateTmp: ['files of others in /tmp'],
  PrivateUsers: ['users'],
  ProtectControlGroups: ['control groups'],
  ProtectHome: ['home folders'],
  ProtectHostname: ['host name'],
  ProtectKernelTunables: ['kernel settings'],
  ProtectProc: ['other processes'],
  ProtectSystem: ['files anywhere'],
  RestrictAddressFamilies: ['netlink'],
  RestrictNamespaces: ['namespaces'],
  RestrictSUIDSGID: ['set-user-ID'],
  SystemCallFilter: ['ptrace'],
  TasksMax: ['many tasks'],
  UMask: ['files for others'],
};

export const HELPER_RESTRICTIONS: Restrictions = {
  CapabilityBoundingSet: ['change of root', 'other users'],
  'DevicePolicy DeviceAllow': ['device'],
  LimitCORE: ['core dump'],
  LockPersonality: ['personality'],
  MemoryMax: ['much memory'],
  NoNewPrivileges: ['new privileges'],
  PrivateNetwork: ['network cards'],
  PrivateTmp: ['files of others in /tmp'],
  ProtectControlGroups: ['control groups'],
  ProtectHome: ['home folders'],
  ProtectHostname: ['host name'],
  ProtectSystem: ['files anywhere'],
  RestrictAddressFamilies: ['internet'],
  RestrictNamespaces: ['namespaces'],
  RestrictSUIDSGID: ['set-user-ID'],
  SystemCallFilter: ['mount', 'ptrace'],
  TasksMax: ['many tasks'],
  UMask: ['files for others'],
};

/** Every attempt by its name; each in a process of its own, for some leave it changed. */
const ATTEMPTS = `
import ctypes, os, resource, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(*words):
    if libc.syscall(*words) < 0: raise OSError(ctypes.get_errno(), '')
def so(condition):
    if not condition: raise OSError()
def status(name): return next(line.split()[1] for line in open('/proc/self/status') if line.startswith(name + ':'))
def limit(name):
    own = open('/proc/self/cgroup').read().strip().split('::')[1]
    return open('/sys/fs/cgroup' + own + '/' + name).read().strip()
def is_writable(path): so(not os.statvfs(path).f_flag & os.ST_RDONLY)
def set_user_id():
    open('/run/attempts/file', 'w').close()
    os.chmod('/run/attempts/file', 0o4755)
PER_LINUX32 = 8
ATTEMPTS = {
    'capabilities': lambda: so(int(status('CapBnd'), 16)),
    'change of root': lambda: os.chroot('/'),
    'control groups': lambda: is_writable('/sys/fs/cgroup'),
    'core dump': lambda: so(resource.getrlimit(resource.RLIMIT_CORE)[1] != 1),
    'device': lambda: open('/dev/attempt', 'rb', buffering=0),
    'files anywhere': lambda: open('/srv/attempt/file', 'w'),
    'files for others': lambda: so(os.umask(0) != 0o77),
    'files of others in /tmp': lambda: os.stat('/tmp/attempt'),
    'home folders': lambda: os.listdir('/home/attempt'),
    'host name': lambda: so(os.readlink('/proc/self/ns/uts') == sys.argv[1]),
    'internet': lambda: socket.socket(socket.AF_INET),
    'kernel settings': lambda: is_writable('/proc/sys'),
    'many files': lambda: so(resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 4096),
    'many tasks': lambda: so(limit('pids.max') == 'max' or int(limit('pids.max')) > 128),
    'mount': lambda: call(165, b'none', b'/srv/attempt', b'tmpfs', 0, 0),
    'much memory': lambda: so(limit('memory.max') == 'max' or int(limit('memory.max')) > 1 << 30),
    'namespaces': lambda: call(272, int(sys.argv[2])),
    'netlink': lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    'network cards': lambda: so(len(open('/proc/net/dev').readlines()) > 3),
    'new privileges': lambda: so(status('NoNewPrivs') == '0'),
    'other processes': lambda: os.stat('/proc/1'),
    'other users': lambda: call(105, 65534),
    'personality': lambda: call(135, PER_LINUX32),
    'ptrace': lambda: call(101, 0, 0, 0, 0),
    'set-user-ID': set_user_id,
    'users': lambda: so(open('/proc/self/uid_map').read().split()[2] == str(2 ** 32 - 1)),
}
for name in sys.argv[3].split(','):
    child = os.fork()
    if child == 0:
        try: ATTEMPTS[name]()
        except OSError: os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0: print(name)
`;

/** Copies of a unit that run the attempts once: whole, without each line, and without all of them. */
const TRY = `
import json, os, re, subprocess, sys
unit, restrictions = json.load(sys.stdin)
for folder in ('/srv/attempt', '/home/attempt', '/run/attempts'):
    os.makedirs(folder, exist_ok=True); os.chmod(folder, 0o777)
open('/tmp/attempt', 'w').close()
if not os.path.exists('/dev/attempt'):
    os.mknod('/dev/attempt', 0o020666, os.makedev(1, 11)); os.chmod('/dev/attempt', 0o666)
text = open('/usr/lib/systemd/system/' + unit + '.service').read()
text = re.sub(r'^(Exec|Type|NotifyAccess|Restart|Watchdog|Condition|Runtime|State|Cache|Before|After|Wants|Requires|LoadCred|  ).*\\n', '', text, flags=re.M)
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
words = [os.readlink('/proc/1/ns/uts'), str(CLONE_NEWUSER if 'User=' in text else CLONE_NEWNS)]
everything = dict.fromkeys(name for names in restrictions.values() for name in names)
variants = {'': [], **{lines: lines.split() for lines in restrictions}, 'all': ' '.join(restrictions).split()}
units = {}
for index, (variant, lines) in enumerate(variants.items()):
    copy = text
    for line in lines:
        copy, found = re.subn('^' + line + '=.*\\n', '', copy, flags=re.M)
        assert found, line + ' is not in ' + unit
    name = 'attempts-%s-%d' % (unit, index)
    units[variant] = name
    arguments = [*words, ','.join(restrictions.get(variant, everything))]
    command = '/usr/bin/python3 -IS /run/attempts/attempts.py ' + ' '.join("'%s'" % word for word in arguments)
    head = '[Service]\\nType=oneshot\\nReadWritePaths=/run/attempts\\nExecStart=%s\\nStandardOutput=file:/run/attempts/%s\\n'
    with open('/run/systemd/system/' + name + '.service', 'w') as file:
        file.write(copy.replace('[Service]\\n', head % (command, name)))
subprocess.run(['systemctl', 'daemon-reload'], check=True)
subprocess.run(['systemctl', 'start', *units.values()], check=True)
print(json.dumps({'unit': units['all'], 'done': {
    variant: open('/run/attempts/' + name).read().splitlines() for variant, name in units.items()}}))
`;

/**
 * What of everything could be done under the unit as the package has installed it (under '') and without all of the
 * restrictions ('all'); without one of them, what of its own; and the name of the unit that has none of them.
 */
export async function tried(
  host: Host,
  unit: string,
  restrictions: Restrictions,
): Promise<{ readonly unit: string; readonly done: Record<string, string[]> }> {
  await host.sh('mkdir -p /run/attempts; cat >/run/attempts/attempts.py', { input: ATTEMPTS });
  await host.sh('cat >/root/try.py', { input: TRY });
  const { stdout } = await host.sh('python3 /root/try.py', {
    input: JSON.stringify([unit, restrictions]),
    timeoutMs: 240_000,
  });
  return JSON.parse(stdout) as { unit: string; done: Record<string, string[]> };
}

/** Looks for a key, and for the bytes of an image, wherever in a host they may have been left. */
import type { Host } from './host.ts';

/**
 * A part of the key is enough to be found, as text, as what the text stands for, in base64 (at each of the three places
 * that its bytes can have in it) or in hex.
 */
const NEEDLES = `
import base64, json, os, re, subprocess, sys
needles = set()
for key in sys.stdin.buffer.read().split():
    assert len(key) >= 64
    needles |= {key[at:at + 24] for at in range(0, len(key) - 23, 16)} | {key.hex()[8:56].encode()}
    for shift in range(3): needles.add(base64.b64encode(b'x' * shift + key)[8:40])
    raw = base64.b64decode(key)
    needles |= {raw[at:at + 16] for at in range(0, len(raw) - 15, 16)}
assert needles
pattern = re.compile(b'|'.join(re.escape(needle) for needle in sorted(needles)))
`;

/** In which files, entries of /proc and answers of the bus it stands. Whatever was changed since the mark is looked at. */
const TRACES = `${NEEDLES}
found = []
def look(where, data):
    if pattern.search(data): found.append(where)

def look_into(path):
    with open(path, 'rb') as file:
        rest = b''
        while piece := file.read(1 << 22):
            if pattern.search(rest + piece): found.append(path); return
            rest = piece[-200:]

since = os.stat(sys.argv[1]).st_mtime
# The root tree of the host is on its disk as a whole; what is mounted from outside is none of it.
OUTSIDE = ('/proc', '/sys', '/mnt')
for top, folders, files in os.walk('/'):
    folders[:] = [name for name in folders if os.path.join(top, name) not in OUTSIDE]
    for name in files:
        path = os.path.join(top, name)
        try:
            status = os.lstat(path)
            if not os.path.isfile(path) or os.path.islink(path) or status.st_ctime < since: continue
            look_into(path)
        except (FileNotFoundError, PermissionError): continue

# All that the kernel tells of processes and of itself, but memory, and what waits for news. Links are what they name.
UNREAD = {'kcore', 'kmsg', 'kpagecount', 'kpageflags', 'kpagecgroup', 'mem', 'pagemap', 'task', 'map_files', 'net', str(os.getpid()), 'self', 'thread-self'}
for top, folders, files in os.walk('/proc'):
    folders[:] = [name for name in folders if name not in UNREAD]
    for name in set(files) - UNREAD:
        path = os.path.join(top, name)
        try:
            if os.path.islink(path): look(path, os.readlink(path).encode())
            else: look_into(path)
        except OSError: continue

def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    look(' '.join(command), done.stdout)
    return done

# What is packed in the files of the journal is not seen in them.
run('journalctl', '--all', '--output', 'export')
for name in subprocess.check_output(['virsh', 'list', '--all', '--name'], text=True).split():
    for command in (['dumpxml', '--security-info'], ['dumpxml', '--inactive', '--security-info'], ['metadata', '--uri', 'urn:libvirt-volume-provisioner:domain:1']):
        run('virsh', command[0], name, *command[1:])
    for command in ('status', 'explain'): run('lvp', command, name, '--json')
run('lvp', 'audit', '--json')
run('lvs', '-o', '+tags')

ROOT = ['runuser', '-u', 'root', '--']
SERVICE = ['runuser', '-u', 'libvirt-volume-provisioner', '--']
NOBODY = ['runuser', '-u', 'nobody', '--']
# Who administrates guests, and may list secrets as root does.
subprocess.run(['useradd', '--system', '--groups', 'libvirt', 'clerk'], stderr=subprocess.DEVNULL)
CLERK = ['runuser', '-u', 'clerk', '--']
def call(path, interface, method, *arguments, who=ROOT):
    return run(*who, 'busctl', '--json=short', 'call', 'org.libvirt', path, 'org.libvirt.' + interface, method, *arguments)
secrets = [path for path in json.loads(call('/org/libvirt/QEMU', 'Connect', 'ListSecrets', 'u', '0').stdout)['data'][0]]
for path in secrets:
    assert call(path, 'Secret', 'GetXMLDesc', 'u', '0').returncode == 0
    if call(path, 'Secret', 'GetValue', 'u', '0').returncode == 0: found.append('the bus gives the value of ' + path)
for path in json.loads(call('/org/libvirt/QEMU', 'Connect', 'ListDomains', 'u', '0').stdout)['data'][0]:
    for flags in ('1', '3'): call(path, 'Domain', 'GetXMLDesc', 'u', flags)
# A stranger may ask nothing at all, and only root hears what others say on the bus.
for who in (SERVICE, CLERK, NOBODY):
    for path in secrets:
        if call(path, 'Secret', 'GetValue', 'u', '0', who=who).returncode == 0: found.append('the bus gives the value of %s to %s' % (path, who))
    if run('timeout', '5', *who, 'busctl', 'monitor').returncode in (0, 124): found.append('the bus is overheard by %s' % who)
assert call('/org/libvirt/QEMU', 'Connect', 'ListSecrets', 'u', '0', who=CLERK).returncode == 0
if call('/org/libvirt/QEMU', 'Connect', 'ListSecrets', 'u', '0', who=NOBODY).returncode == 0: found.append('the bus gives secrets to nobody')
print(json.dumps({'found': sorted(found), 'secrets': len(secrets), 'swaps': open('/proc/swaps').read().count('\\n') - 1}))
`;

/** What of the memory of these processes it stands in. */
const MEMORY = `${NEEDLES}
import itertools, struct
PAGE, PAGES = 4096, 1024
found = {}
def pieces(process, at, end):
    """Only pages that are there: to read one that is not makes it, and no process of this kernel can have many such."""
    with open('/proc/%s/pagemap' % process, 'rb', 0) as pagemap, open('/proc/%s/mem' % process, 'rb', 0) as memory:
        while at < end:
            pages = min(PAGES, (end - at) // PAGE)
            pagemap.seek(at // PAGE * 8)
            entries = struct.unpack('=%dQ' % pages, pagemap.read(8 * pages))
            for is_there, run in itertools.groupby(entries, lambda entry: entry >> 63):
                length = len(list(run)) * PAGE
                if is_there:
                    memory.seek(at)
                    yield at, memory.read(length)
                at += length
for process in sys.argv[1:]:
    places = found[process] = []
    with open('/proc/%s/maps' % process) as maps: spans = maps.readlines()
    for line in spans:
        span, rights, _, _, _, *name = line.split()
        if not rights.startswith('rw'): continue
        begin, end = (int(word, 16) for word in span.split('-'))
        rest, expected = b'', begin
        for at, piece in pieces(process, begin, end):
            if at != expected: rest = b''
            if pattern.search(rest + piece): places.append(' '.join([span, *name])); break
            rest, expected = piece[-200:], at + len(piece)
print(json.dumps(found))
`;

/** How many sectors of a device are sectors of a file, are zero, or hold a part of the key, behind the first so many bytes. */
const SECTORS = `${NEEDLES}
import collections
with open(sys.argv[1], 'rb') as file: image = file.read()
SECTOR, ZERO = 512, bytes(512)
known = {image[at:at + SECTOR] for at in range(0, len(image) - SECTOR + 1, SECTOR)} - {ZERO}
count = collections.Counter(image=0, zero=0, key=0, all=0)
at, rest = 0, b''
with open(sys.argv[2], 'rb') as device:
    while piece := device.read(1 << 22):
        count['key'] += len(pattern.findall(rest + piece))
        rest = piece[-15:]
        for begin in range(0, len(piece), SECTOR):
            sector = piece[begin:begin + SECTOR]
            count['all'] += 1
            if sector in known: count['image'] += 1
            elif sector == ZERO and at + begin >= int(sys.argv[3]): count['zero'] += 1
        at += len(piece)
print(json.dumps({'known': len(known), **count}))
`;

export interface Traces {
  /** Files, processes and commands. */
  readonly found: readonly string[];
  /** How many the bus has listed. */
  readonly secrets: number;
  readonly swaps: number;
}

export interface Sectors {
  /** Different ones of the image that are not zero. */
  readonly known: number;
  readonly image: number;
  readonly zero: number;
  readonly key: number;
  readonly all: number;
}

async function runPython(
  host: Host,
  name: string,
  text: string,
  words: string,
  key: string,
): Promise<unknown> {
  await host.sh(`cat >/root/${name}.py`, { input: text });
  const { stdout } = await host.sh(`python3 /root/${name}.py ${words}`, {
    ...{ input: `${key}\n`, timeoutMs: 600_000 },
  });
  return JSON.parse(stdout);
}

/** In all files that were changed after the file `mark`, all of /proc but memory, and all that libvirt says; several keys on lines of their own. */
export async function tracesOf(host: Host, keys: string, mark: string): Promise<Traces> {
  return (await runPython(host, 'traces', TRACES, mark, keys)) as Traces;
}

/** In which parts of the memory of each of these processes it is. */
export async function placesInMemory(
  host: Host,
  key: string,
  pids: readonly string[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = (await runPython(host, 'memory', MEMORY, pids.join(' '), key)) as Record<string, string[]>;
  return new Map(Object.entries(found));
}

/** Of a device, against a file in the host; zeros are counted from `fromBytes` on. */
export async function sectorsOf(
  host: Host,
  { key, image, device, fromBytes = 0 }: { key: string; image: string; device: string; fromBytes?: number },
): Promise<Sectors> {
  return (await runPython(host, 'sectors', SECTORS, `${image} ${device} ${fromBytes}`, key)) as Sectors;
}

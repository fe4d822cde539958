/** Who takes connections, as the kernel tells in /proc: no program that may be missing is needed for it. */
import { readdir, readFile, readlink } from 'node:fs/promises';

const PROTOCOLS = ['tcp', 'tcp6', 'udp', 'udp6'] as const;
/** include/net/tcp_states.h: a TCP socket that listens; an UDP socket that is not connected is in state 7. */
const STATE_LISTENING = { tcp: '0A', udp: '07' } as const;

export interface Listener {
  /** `tcp 0.0.0.0:8080` */
  readonly address: string;
  readonly inode: string;
}

/** Those of the network that the process sees. */
export async function listenersIn(
  proc: string,
  protocols: readonly (typeof PROTOCOLS)[number][] = PROTOCOLS,
): Promise<readonly Listener[]> {
  const found: Listener[] = [];
  for (const protocol of protocols) {
    const text = await readFile(`${proc}/net/${protocol}`, 'utf8').catch((error: unknown) => {
      // A kernel without IPv6 has no such file.
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
      throw error;
    });
    found.push(...readTable(text, protocol.startsWith('tcp') ? 'tcp' : 'udp'));
  }
  return found;
}

/** Those that the process itself holds open. */
export async function listenersOf(pid: number): Promise<readonly string[]> {
  const proc = `/proc/${pid}`;
  const inodes = new Set<string>();
  for (const fd of await readdir(`${proc}/fd`)) {
    // It may have been closed meanwhile.
    const target = await readlink(`${proc}/fd/${fd}`).catch(() => '');
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined) inodes.add(inode);
  }
  return (await listenersIn(proc)).filter(({ inode }) => inodes.has(inode)).map(({ address }) => address);
}

export function readTable(text: string, protocol: 'tcp' | 'udp'): readonly Listener[] {
  return text
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === STATE_LISTENING[protocol])
    .map((fields) => ({ address: `${protocol} ${readAddress(fields[1] ?? '')}`, inode: fields[9] ?? '' }));
}

/** `0100007F:1F90`: words of the machine's byte order, which is little-endian where this program runs. */
function readAddress(text: string): string {
  const [host = '', port = ''] = text.split(':');
  const bytes = (host.match(/.{8}/g) ?? []).flatMap((word) => (word.match(/../g) ?? []).reverse());
  const portNumber = parseInt(port, 16);
  if (bytes.length === 4) return `${bytes.map((byte) => parseInt(byte, 16)).join('.')}:${portNumber}`;
  const groups = bytes.join('').match(/.{4}/g) ?? [];
  return `[${groups.join(':').toLowerCase()}]:${portNumber}`;
}

/** Request lines to the root helper's socket in a host, as the daemon sends them. */
import { HelperResponse } from '../../src/core/helper-protocol.ts';
import type { HelperRequest } from '../../src/core/helper-protocol.ts';
import type { Host } from './host.ts';

export const HELPER_SOCKET = '/run/libvirt-volume-provisioner-helper.socket';

/** One line to the socket, one line back; python, because it starts faster than node. */
const ASK = `
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect('${HELPER_SOCKET}')
s.sendall(sys.stdin.buffer.read() + b'\\n')
answer = b''
while not answer.endswith(b'\\n'):
    part = s.recv(65536)
    if not part: break
    answer += part
sys.stdout.buffer.write(answer)
`;

/** Must have been called once before askHelper(): the program is at /root/ask.py then. */
export async function prepareToAsk(host: Host): Promise<void> {
  await host.sh('cat >/root/ask.py', { input: ASK });
}

export async function askHelper(
  host: Host,
  request: HelperRequest | Record<string, unknown>,
): Promise<HelperResponse> {
  const { stdout } = await host.sh('python3 /root/ask.py', { input: JSON.stringify(request) });
  return HelperResponse.parse(JSON.parse(stdout));
}

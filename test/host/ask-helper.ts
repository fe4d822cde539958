/** Request lines to the root helper's socket in a host, as the daemon sends them. */
import type { HelperRequest } from '../../src/core/protocol/helper-protocol.ts';
import { HelperResponse } from '../../src/core/protocol/helper-protocol.ts';
import type { Host } from './host.ts';

export const HELPER_SOCKET = '/run/libvirt-volume-provisioner-helper.socket';

/**
 * One line to the socket, with the keys that it has behind it, and one line back, with the key behind that; python,
 * because it starts faster than node.
 */
const ASK = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect('${HELPER_SOCKET}')
s.sendall(sys.stdin.buffer.read())
answer = b''
def more():
    global answer
    part = s.recv(65536)
    if not part: sys.stdout.buffer.write(answer); sys.exit()
    answer += part
while b'\\n' not in answer: more()
line, _ = answer.split(b'\\n', 1)
result = json.loads(line).get('result')
length = result.get('keyLength', 0) if isinstance(result, dict) else 0
while len(answer) < len(line) + 1 + length: more()
sys.stdout.buffer.write(answer)
`;

/** Must have been called once before askHelper(): the program is at /root/ask.py then. */
export async function prepareToAsk(host: Host): Promise<void> {
  await host.sh('cat >/root/ask.py', { input: ASK });
}

export async function askHelper(
  host: Host,
  request: HelperRequest | Record<string, unknown>,
  keys: readonly string[] = [],
): Promise<HelperResponse> {
  const { line } = await askForKey(host, request, keys);
  return HelperResponse.parse(JSON.parse(line));
}

/** The line that answers it, and what stands behind it. */
export async function askForKey(
  host: Host,
  request: HelperRequest | Record<string, unknown>,
  keys: readonly string[] = [],
): Promise<{ readonly line: string; readonly key: string }> {
  const said = keys.length === 0 ? request : { ...request, keyLengths: keys.map(({ length }) => length) };
  const input = `${JSON.stringify(said)}\n${keys.join('')}`;
  const { stdout } = await host.sh('python3 /root/ask.py', { input });
  const end = stdout.indexOf('\n');
  return end < 0 ? { line: stdout, key: '' } : { line: stdout.slice(0, end), key: stdout.slice(end + 1) };
}

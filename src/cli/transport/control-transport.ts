/** To the daemon of this host, over its control socket. Who may is decided by the group of the socket. */
import { readFileSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { ProvisionError } from '../../core/errors.ts';
import { CONTROL_GROUP, ErrorBody, problemOf } from '../../core/protocol/control-protocol.ts';
import { codeOf, exchange, reasonOf } from './exchange.ts';
import { parsedJson } from './parsed-json.ts';
import type { Asked, Transport } from './transport.ts';
import { ANSWER_DEADLINE_MS } from './transport.ts';

export class ControlTransport implements Transport {
  readonly #socket: string;
  readonly #deadlineMs: number;

  constructor(socket: string, deadlineMs = ANSWER_DEADLINE_MS) {
    this.#socket = socket;
    this.#deadlineMs = deadlineMs;
  }

  async ask({ method, path, body }: Asked, onLine?: (line: string) => void): Promise<string> {
    try {
      const options = { socketPath: this.#socket, method, path };
      const { status, text } = await exchange({
        ...{ send: request, options, body, onLine, deadlineMs: this.#deadlineMs },
      });
      const refused = status === 200 ? undefined : ErrorBody.safeParse(parsedJson(text)).data;
      if (refused === undefined) return text;
      throw new ProvisionError(problemOf(refused));
    } catch (error) {
      throw error instanceof ProvisionError ? error : this.#unreachable(error);
    }
  }

  #unreachable(error: unknown): ProvisionError {
    const code = codeOf(error);
    if (code === 'EACCES' || code === 'EPERM') {
      const group = groupOf(this.#socket);
      return new ProvisionError({
        code: 'DAEMON_UNREACHABLE',
        message: `You may not open ${this.#socket}.`,
        hint: `Use sudo, or become a member of the group '${group}' (usermod -aG ${group} USER) and log in again.`,
        cause: error,
      });
    }
    return new ProvisionError({
      code: 'DAEMON_UNREACHABLE',
      message: `The provisioner cannot be reached at ${this.#socket}: ${reasonOf(error, this.#deadlineMs)}.`,
      hint: 'See: systemctl status libvirt-volume-provisioner',
      cause: error,
    });
  }
}

/** The name of the group the socket belongs to, so that the hint is right on every installation. */
function groupOf(socket: string): string {
  try {
    const { gid } = statSync(socket);
    const lines = readFileSync('/etc/group', 'utf8').split('\n');
    const name = lines.find((line) => line.split(':')[2] === String(gid))?.split(':')[0];
    return gid === 0 || name === undefined ? CONTROL_GROUP : name;
  } catch {
    return CONTROL_GROUP;
  }
}

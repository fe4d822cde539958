/** To the daemon of another host, over its HTTP API: docs/http-api.md. */
import { Agent as PlainAgent, request as plainRequest } from 'node:http';
import { Agent, request } from 'node:https';
import { getCACertificates } from 'node:tls';
import { z } from 'zod';
import type { ErrorCode } from '../../core/errors.ts';
import { ProvisionError } from '../../core/errors.ts';
import { codeOf, exchange, reasonOf } from './exchange.ts';
import { parsedJson } from './parsed-json.ts';
import type { Credentials } from './credentials.ts';
import type { Asked, Transport } from './transport.ts';
import { ANSWER_DEADLINE_MS } from './transport.ts';

/** RFC 9457 as the API has it; more may come. */
const ProblemDetails = z.object({
  code: z.string().max(255),
  detail: z.string().max(65_536),
  hint: z.string().max(4096).optional(),
});

export class HttpsTransport implements Transport {
  readonly #url: URL;
  readonly #deadlineMs: number;
  readonly #agent: Agent | PlainAgent;
  readonly #headers: Readonly<Record<string, string>>;

  /** `url` as serverUrl() gives it. */
  constructor(url: URL, { token, ca, cert, key }: Credentials, deadlineMs = ANSWER_DEADLINE_MS) {
    this.#url = url;
    this.#deadlineMs = deadlineMs;
    this.#headers = token === undefined ? {} : { 'x-api-token': token };
    this.#agent =
      url.protocol === 'http:'
        ? new PlainAgent({ keepAlive: true })
        : new Agent({
            ...{ keepAlive: true, minVersion: 'TLSv1.2' as const },
            // Said here, since NODE_TLS_REJECT_UNAUTHORIZED would have a word in it otherwise.
            rejectUnauthorized: true,
            ca: ca ?? [...getCACertificates('default'), ...getCACertificates('system')],
            ...(cert === undefined ? {} : { cert, key }),
          });
  }

  async ask({ method, path, body }: Asked, onLine?: (line: string) => void): Promise<string> {
    const { hostname, port, protocol } = this.#url;
    try {
      const { status, text } = await exchange({
        send: protocol === 'http:' ? plainRequest : request,
        options: {
          ...{ method, agent: this.#agent, headers: this.#headers },
          // What the control socket has below /v1 the API has below /api/v1.
          path: path.startsWith('/v1/') ? `/api${path}` : path,
          host:
            hostname === 'localhost' && protocol === 'http:' ? '127.0.0.1' : hostname.replace(/^\[|\]$/g, ''),
          ...(port === '' ? {} : { port }),
        },
        ...{ body, onLine, deadlineMs: this.#deadlineMs },
      });
      if (status >= 200 && status < 300) return text;
      throw this.#refusal(status, text);
    } catch (error) {
      throw error instanceof ProvisionError ? error : this.#unreachable(error);
    }
  }

  #refusal(status: number, text: string): ProvisionError {
    const said = ProblemDetails.safeParse(parsedJson(text)).data;
    if (said !== undefined) {
      // Those of HTTP itself have exit codes as well: exit-codes.ts.
      return new ProvisionError({ code: said.code as ErrorCode, message: said.detail, hint: said.hint });
    }
    return new ProvisionError({
      code: 'DAEMON_UNREACHABLE',
      message: `${this.#url.origin} answers with status ${status}, and not as a provisioner does.`,
      hint: 'Is it the address of http.listen in the configuration of that host, or of something before it?',
    });
  }

  #unreachable(error: unknown): ProvisionError {
    return new ProvisionError({
      code: 'DAEMON_UNREACHABLE',
      message: `The provisioner cannot be reached at ${this.#url.origin}: ${reasonOf(error, this.#deadlineMs)}.`,
      hint: hintFor(codeOf(error)),
      cause: error,
    });
  }
}

function hintFor(code: string): string {
  if (/CERT|ISSUER|SIGNATURE|^CRL_/.test(code)) {
    return 'The certificate of a server is always checked: name its authority with --server-ca FILE, and the host as the certificate does.';
  }
  if (/^ERR_SSL|^EPROTO/.test(code)) return 'Does it speak TLS there? Only on this host may it be http://.';
  return 'See, on that host: http.listen in its configuration, and systemctl status libvirt-volume-provisioner';
}

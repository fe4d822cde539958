/** The daemon as `lvp` sees it: calls over the control socket, and clear words when it is not there. */
import { readFileSync, statSync } from 'node:fs';
import { request } from 'node:http';
import type { z } from 'zod';
import type { AuditQuery } from '../core/audit-protocol.ts';
import { AuditEvents } from '../core/audit-protocol.ts';
import type { AnnotateRequest, ReprovisionRequest } from '../core/control-protocol.ts';
import {
  AnnotateResult,
  CONTROL_GROUP,
  DomainList,
  DomainStatus,
  ErrorBody,
  Explanation,
  LookResult,
  problemOf,
  ReprovisionResult,
} from '../core/control-protocol.ts';
import { ProvisionError } from '../core/errors.ts';
import { Handover, ReceiveResult } from '../core/handover.ts';

/** Longer than the daemon's own limit for a verb, so that its explanation arrives. */
const ANSWER_DEADLINE_MS = 65_000;
const ANSWER_BYTES_MAX = 16 * 2 ** 20;

export class ControlClient {
  readonly #socket: string;
  readonly #deadlineMs: number;

  constructor(socket: string, deadlineMs = ANSWER_DEADLINE_MS) {
    this.#socket = socket;
    this.#deadlineMs = deadlineMs;
  }

  domains(): Promise<DomainStatus[]> {
    return this.call(DomainList, 'GET', '/v1/domains');
  }

  domain(name: string): Promise<DomainStatus> {
    return this.call(DomainStatus, 'GET', pathOf(name));
  }

  explain(name: string): Promise<Explanation> {
    return this.call(Explanation, 'GET', pathOf(name, 'explain'));
  }

  annotate(name: string, body: AnnotateRequest): Promise<AnnotateResult> {
    return this.call(AnnotateResult, 'POST', pathOf(name, 'annotate'), body);
  }

  cancel(name: string, target: string | undefined): Promise<DomainStatus> {
    return this.call(DomainStatus, 'POST', pathOf(name, 'cancel'), { target });
  }

  retry(name: string, target: string | undefined): Promise<DomainStatus> {
    return this.call(DomainStatus, 'POST', pathOf(name, 'retry'), { target });
  }

  reprovision(name: string, body: ReprovisionRequest): Promise<ReprovisionResult> {
    return this.call(ReprovisionResult, 'POST', pathOf(name, 'reprovision'), body);
  }

  look(): Promise<LookResult> {
    return this.call(LookResult, 'POST', '/v1/look', {});
  }

  provision(xml: string): Promise<DomainStatus> {
    return this.call(DomainStatus, 'POST', '/v1/provision', xml);
  }

  handover(name: string): Promise<Handover> {
    return this.call(Handover, 'GET', pathOf(name, 'handover'));
  }

  receive(handover: Handover): Promise<ReceiveResult> {
    return this.call(ReceiveResult, 'POST', '/v1/receive', handover);
  }

  /** Oldest first. */
  audit(query: Partial<AuditQuery>): Promise<AuditEvents> {
    const given = Object.entries(query).map(([name, value]): [string, string] => [name, String(value)]);
    return this.call(AuditEvents, 'GET', `/v1/audit?${new URLSearchParams(given).toString()}`);
  }

  /** In Prometheus's text format. */
  async metrics(): Promise<string> {
    const text = await this.#exchange('GET', '/metrics', undefined);
    const failed = ErrorBody.safeParse(parseJson(text));
    if (failed.success) throw new ProvisionError(problemOf(failed.data));
    return text;
  }

  async call<T>(schema: z.ZodType<T>, method: string, path: string, body?: object | string): Promise<T> {
    return understood(schema, await this.#exchange(method, path, body));
  }

  /** The lines of an answer that takes as long as it takes; each is understood as it comes. */
  async lines<T>(schema: z.ZodType<T>, path: string, body: object, take: (line: T) => void): Promise<void> {
    await this.#exchange('POST', path, body, (line) => {
      take(understood(schema, line));
    });
  }

  /** The answer's text; with `onLine` it is given line by line, and nothing is left. */
  #exchange(
    method: string,
    path: string,
    body: object | string | undefined,
    onLine?: (line: string) => void,
  ): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const sent = request(
      {
        socketPath: this.#socket,
        method,
        path,
        headers: { 'content-type': typeof body === 'string' ? 'application/xml' : 'application/json' },
        ...(onLine === undefined ? { signal: AbortSignal.timeout(this.#deadlineMs) } : {}),
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text += chunk;
          if (onLine !== undefined && response.statusCode === 200) {
            const lines = text.split('\n');
            text = lines.pop() ?? '';
            try {
              for (const line of lines) onLine(line);
            } catch (error) {
              response.destroy();
              reject(error);
            }
          }
          if (text.length > ANSWER_BYTES_MAX) response.destroy(new Error('the answer is too long'));
        });
        response.on('error', reject);
        response.on('end', () => {
          // An error before the first line is an answer like any other.
          try {
            if (onLine !== undefined && text !== '') onLine(text);
            resolve(text);
          } catch (error) {
            reject(error);
          }
        });
      },
    );
    sent.on('error', reject);
    sent.end(typeof body === 'object' ? JSON.stringify(body) : body);
    return promise.catch((error: unknown) => {
      if (error instanceof ProvisionError) throw error;
      throw this.#unreachable(error);
    });
  }

  #unreachable(error: unknown): ProvisionError {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code === 'EACCES' || code === 'EPERM') {
      const group = groupOf(this.#socket);
      return new ProvisionError({
        code: 'DAEMON_UNREACHABLE',
        message: `You may not open ${this.#socket}.`,
        hint: `Use sudo, or become a member of the group '${group}' (usermod -aG ${group} USER) and log in again.`,
        cause: error,
      });
    }
    const why: Readonly<Record<string, string>> = {
      ENOENT: 'there is no such socket',
      ECONNREFUSED: 'nobody listens there',
      ABORT_ERR: `no answer within ${this.#deadlineMs / 1000} s`,
    };
    const reason = why[code] ?? (error instanceof Error ? error.message : String(error));
    return new ProvisionError({
      code: 'DAEMON_UNREACHABLE',
      message: `The provisioner cannot be reached at ${this.#socket}: ${reason}.`,
      hint: 'See: systemctl status libvirt-volume-provisioner',
      cause: error,
    });
  }
}

function pathOf(name: string, verb?: string): string {
  return `/v1/domains/${encodeURIComponent(name)}${verb === undefined ? '' : `/${verb}`}`;
}

function understood<T>(schema: z.ZodType<T>, text: string): T {
  const answer = parseJson(text);
  const failed = ErrorBody.safeParse(answer);
  if (failed.success) throw new ProvisionError(problemOf(failed.data));
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new ProvisionError({
    code: 'INTERNAL',
    message: 'The provisioner answered with something this lvp does not understand.',
    hint: 'Restart it if lvp is newer: systemctl restart libvirt-volume-provisioner',
    cause: parsed.error,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
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

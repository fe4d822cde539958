/** Why a request is not done, and how that is said: as the Go provisioner said it on its routes, else by RFC 9457. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors, isResponseSerializationError } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ErrorCode } from '../../core/errors.ts';
import { ProvisionError, toProblem } from '../../core/errors.ts';
import type { HttpCode } from '../../core/protocol/http-code.ts';
import { statusOf } from '../../core/protocol/problem-status.ts';
import type { Log } from '../../provision/ports/host.ts';

export const PROBLEM_TYPE = 'application/problem+json';

/** https://www.rfc-editor.org/rfc/rfc9457 */
export const ProblemDetails = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int().min(400).max(599),
    detail: z.string(),
    /** One word for programs, see docs/operate.md. */
    code: z.string(),
    /** What to do next. */
    hint: z.string().optional(),
  })
  .meta({ id: 'ProblemDetails' });

/** The Go provisioner's. */
export const CompatibleError = z
  .object({ error: z.string(), message: z.string(), code: z.int() })
  .meta({ id: 'ErrorResponse' });

/** Something of HTTP itself, not of volumes, that stands in the way. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint?: string | undefined;
  readonly retryAfterS?: number | undefined;
  /** Nothing is written down about it, for it would be too much. */
  readonly isQuiet: boolean;

  constructor(about: {
    readonly status: number;
    readonly code: ErrorCode | HttpCode;
    readonly message: string;
    readonly hint?: string;
    readonly retryAfterS?: number;
    readonly isQuiet?: boolean;
  }) {
    super(about.message);
    this.status = about.status;
    this.code = about.code;
    this.hint = about.hint;
    this.retryAfterS = about.retryAfterS;
    this.isQuiet = about.isQuiet ?? false;
  }
}

/** As it is answered, audited and logged. */
export interface Refused {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly hint?: string | undefined;
}

const TITLES: Readonly<Record<number, string>> = {
  400: 'invalid request',
  401: 'authentication required',
  403: 'not allowed',
  404: 'not found',
  405: 'method not allowed',
  409: 'not possible now',
  413: 'request too large',
  415: 'unsupported media type',
  422: 'not acceptable',
  429: 'too many requests',
  503: 'not available',
  504: 'took too long',
};

function titleOf(status: number): string {
  return TITLES[status] ?? (status < 500 ? 'invalid request' : 'internal error');
}

function refusedBecause(error: unknown): Refused {
  if (error instanceof Refusal) return error;
  if (error instanceof ProvisionError) {
    const { code, message, hint } = toProblem(error);
    return { status: statusOf(code), code, message, hint };
  }
  if (hasZodFastifySchemaValidationErrors(error)) {
    const wrong = error.validation.map(
      ({ instancePath, message }) =>
        `${instancePath.slice(1).replaceAll('/', '.') || (error.validationContext ?? 'request')}: ${message ?? 'is not valid'}`,
    );
    return { status: 400, code: 'USAGE', message: `The request is not valid: ${wrong.join('; ')}.` };
  }
  const status = statusIn(error);
  if (status === 503) {
    const hint = 'Look again what has become of it before asking once more.';
    return { status: 504, code: 'TIMEOUT', message: 'It was not finished in time.', hint };
  }
  // What Fastify itself refuses: a body that is too long, not JSON, of another type.
  if (status !== undefined && status < 500 && error instanceof Error) {
    return { status, code: 'USAGE', message: error.message };
  }
  const hint =
    'This is a defect of the provisioner; the journal of libvirt-volume-provisioner has the details.';
  return { status: 500, code: 'INTERNAL', message: 'The request has failed.', hint };
}

function statusIn(error: unknown): number | undefined {
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined;
  return typeof status === 'number' ? status : undefined;
}

/** Answers, and keeps the reason with the request for the audit trail. */
export function answerRefused(error: unknown, request: FastifyRequest, reply: FastifyReply, log: Log): void {
  const refused = refusedBecause(error);
  const { status, code, message, hint } = refused;
  if (status === 500) {
    const what = isResponseSerializationError(error) ? error.cause : error;
    log.error({ err: what, route: request.routeOptions.url }, 'a request to the HTTP API failed');
  }
  request.refused = refused;
  request.isQuiet = error instanceof Refusal && error.isQuiet;
  if (error instanceof Refusal && error.retryAfterS !== undefined)
    void reply.header('retry-after', error.retryAfterS);
  if (status === 401) challenge(request, reply);
  // Whoever is nobody shall not keep a connection.
  if (status === 401 || status === 429) void reply.header('connection', 'close');
  const { compatible, page } = request.routeOptions.config;
  if (page !== undefined) {
    void reply
      .code(status)
      .headers(page.headers)
      .type(page.type)
      .serializer(String)
      .send(page.refused(refused));
    return;
  }
  const body =
    compatible === undefined
      ? {
          type: `urn:libvirt-volume-provisioner:problem:${code.toLowerCase().replaceAll('_', '-')}`,
          ...{ title: titleOf(status), status, detail: message, code },
          ...(hint === undefined ? {} : { hint }),
        }
      : {
          error: status < 500 && status !== 409 ? (compatible[status] ?? titleOf(status)) : compatible.failed,
          message: hint === undefined ? message : `${message} ${hint}`,
          code: status,
        };
  // As text, for it must come out whatever the route's own schema says.
  void reply
    .code(status)
    .type(compatible === undefined ? PROBLEM_TYPE : 'application/json; charset=utf-8')
    .serializer((value: unknown) => JSON.stringify(value))
    .send(body);
}

/** A browser asks its user then; but not for what a script fetches, which would be a question out of nowhere. */
function challenge({ headers, routeOptions }: FastifyRequest, reply: FastifyReply): void {
  const { page } = routeOptions.config;
  const isOfUser = (headers['sec-fetch-dest'] ?? 'document') === 'document';
  if (page?.takesBasic === true && !isOfUser) return;
  const scheme = page?.takesBasic === true ? 'Basic' : 'Bearer';
  const charset = scheme === 'Basic' ? ', charset="UTF-8"' : '';
  void reply.header('www-authenticate', `${scheme} realm="libvirt-volume-provisioner"${charset}`);
}

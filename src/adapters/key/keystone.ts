/** Who we are, by Keystone's word: a token for some time. https://docs.openstack.org/api-ref/identity/v3/ */
import { z } from 'zod';
import { ProvisionError } from '../../core/errors.ts';
import { nameOfServer, unexpected, unreachable, unreadable } from './errors.ts';
import type { KeyAnswer, KeyRequests } from './requests.ts';

/** Somebody who can prove to be it. */
export type KeyIdentity =
  | { readonly kind: 'application-credential'; readonly id: string; readonly secret: { reveal(): string } }
  | {
      readonly kind: 'password';
      readonly user: Named;
      readonly project: Named;
      readonly password: { reveal(): string };
    };

/** By its id, or by its name within a domain. */
export type Named =
  | { readonly id: string }
  | { readonly name: string; readonly domain: { readonly id: string } | { readonly name: string } };

export interface KeyToken {
  readonly value: { reveal(): string };
  readonly userId: string;
  /** From the moment on at which it was given, in ms: the clocks of both sides need not agree. */
  readonly lifetimeMs: number;
}

const TokenAnswer = z.object({
  token: z.object({
    issued_at: z.iso.datetime(),
    expires_at: z.iso.datetime(),
    user: z.object({ id: z.string().max(255) }),
  }),
});

/** KEY_DENIED if Keystone does not know who that is; KEY_SERVER_UNREACHABLE. */
export async function askForToken(
  requests: KeyRequests,
  authUrl: URL,
  identity: KeyIdentity,
  signal: AbortSignal,
): Promise<KeyToken> {
  const body = Buffer.from(JSON.stringify({ auth: authOf(identity) }));
  let answer: KeyAnswer;
  try {
    answer = await requests.ask({
      method: 'POST',
      url: new URL(`${authUrl.href}/auth/tokens`),
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      ...{ body, signal },
    });
  } catch (error) {
    throw unreachable(error, authUrl);
  } finally {
    body.fill(0);
  }
  try {
    return tokenOf(answer, authUrl, identity);
  } finally {
    answer.wipe();
  }
}

function authOf(identity: KeyIdentity): object {
  if (identity.kind === 'application-credential') {
    // It is for one project, that of whoever made it, and may not name another.
    return {
      identity: {
        methods: ['application_credential'],
        application_credential: { id: identity.id, secret: identity.secret.reveal() },
      },
    };
  }
  const user = { ...identity.user, password: identity.password.reveal() };
  return {
    identity: { methods: ['password'], password: { user } },
    scope: { project: identity.project },
  };
}

function tokenOf({ status, headers, body }: KeyAnswer, authUrl: URL, identity: KeyIdentity): KeyToken {
  if (status === 401 || status === 403 || isUnknownCredential(status, body)) {
    throw identityRefused(authUrl, identity, status);
  }
  if (status !== 201 && status !== 200) throw unexpected(status, authUrl);
  const token = headers['x-subject-token'];
  const parsed = parse(body);
  if (typeof token !== 'string' || !/^[\x21-\x7e]{1,8192}$/.test(token) || !parsed.success) {
    throw unreadable('one of Keystone', authUrl);
  }
  const { issued_at: issuedAt, expires_at: expiresAt, user } = parsed.data.token;
  return {
    value: { reveal: () => token },
    userId: user.id,
    lifetimeMs: Date.parse(expiresAt) - Date.parse(issuedAt),
  };
}

/** Keystone says of an application credential that it does not know what it says of a path: 404. */
function isUnknownCredential(status: number, body: Buffer): boolean {
  return status === 404 && body.includes('Could not find Application Credential');
}

function parse(body: Buffer) {
  try {
    return TokenAnswer.safeParse(JSON.parse(body.toString('utf8')));
  } catch {
    return { success: false } as const;
  }
}

function identityRefused(authUrl: URL, identity: KeyIdentity, status: number): ProvisionError {
  const isHost = identity.kind === 'application-credential';
  return new ProvisionError({
    code: 'KEY_DENIED',
    message: isHost
      ? `Keystone at ${nameOfServer(authUrl)} refuses the identity, application credential ${identity.id} (status ${status}).`
      : `Keystone at ${nameOfServer(authUrl)} refuses the user and password (status ${status}).`,
    hint: isHost
      ? 'See that it exists, has not run out, and belongs to the secret that was given with it; for this host: keys.barbican and the credential barbican-application-credential-secret.'
      : 'Check OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME and the domains of user and project.',
  });
}

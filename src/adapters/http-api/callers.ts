/** Who calls, and what they may do. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import type { HttpIdentity, HttpRight } from '../../core/settings/http-settings.ts';
import { Refusal } from './refusal.ts';

export interface Caller {
  /** `certificate:SUBJECT` or `token:NAME`, see AuditEvent. */
  readonly who: string;
  readonly verbs: readonly HttpRight[];
  readonly volumePrefixes: readonly string[];
}

/** Somebody whom this host knows, and what the configuration allows them: nothing unless it names them. */
export class Callers {
  readonly #identities: readonly HttpIdentity[];
  readonly #onSocket = new WeakMap<Socket, Caller | undefined>();

  constructor(identities: readonly HttpIdentity[]) {
    this.#identities = identities;
  }

  ofToken(name: string): Caller {
    return callerOf(
      `token:${name}`,
      this.#identities.find(({ token }) => token === name),
    );
  }

  /** Whoever's certificate came with the connection; undefined if none did. Throws for one that is not trusted. */
  ofConnection(socket: Socket): Caller | undefined {
    if (!(socket instanceof TLSSocket)) return undefined;
    if (this.#onSocket.has(socket)) return this.#onSocket.get(socket);
    const caller = this.#readCertificate(socket);
    this.#onSocket.set(socket, caller);
    return caller;
  }

  #readCertificate(socket: TLSSocket): Caller | undefined {
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return undefined;
    const subject = certificate.subject.split('\n');
    if (!socket.authorized) {
      throw new Refusal({
        status: 401,
        code: 'UNAUTHORIZED',
        message: `The client certificate of ${subject.join(',')} is not trusted here: ${String(socket.authorizationError)}.`,
        hint: 'It must be valid and come from an authority in http.tls.client_ca_file.',
      });
    }
    const identity = this.#identities.find(
      ({ certificate: wanted }) => wanted !== undefined && isSubject(wanted, subject),
    );
    return callerOf(`certificate:${subject.join(',')}`, identity);
  }
}

function callerOf(who: string, identity: HttpIdentity | undefined): Caller {
  return { who, verbs: identity?.verbs ?? [], volumePrefixes: identity?.volumePrefixes ?? [] };
}

/** `CN=ci,O=Example` in either order of its parts, for programs differ in that, or a common name alone. */
export function isSubject(wanted: string, subject: readonly string[]): boolean {
  if (!wanted.includes('=')) {
    const names = subject.filter((part) => part.startsWith('CN='));
    return names.length === 1 && names[0] === `CN=${wanted}`;
  }
  const parts = wanted.split(/(?<!\\),/).map((part) => part.trim().replace(/\s*=\s*/, '='));
  const same = (other: readonly string[]) =>
    parts.length === other.length && parts.every((part, index) => part === other[index]);
  return same(subject) || same(subject.toReversed());
}

/** Throws unless the caller may do what the route is for. */
export function requireRight(caller: Caller, rights: readonly HttpRight[]): void {
  if (rights.some((right) => caller.verbs.includes(right))) return;
  throw new Refusal({
    status: 403,
    code: 'FORBIDDEN',
    message: `${caller.who} may not ${rights.join(' or ')} here.`,
    hint: 'What each identity may do stands under http.identities in the configuration of this host.',
  });
}

/** Throws unless the caller may change the volume of this name. */
export function requireVolume(request: FastifyRequest, volume: string): void {
  const { caller } = request;
  if (caller === undefined) throw new Error('a route that changes volumes has no caller');
  const { who, volumePrefixes: prefixes } = caller;
  if (prefixes.length === 0 || prefixes.some((prefix) => volume.startsWith(prefix))) return;
  throw new Refusal({
    status: 403,
    code: 'FORBIDDEN',
    message: `${who} may change only volumes whose names begin with ${prefixes.join(' or ')}, and ${volume} does not.`,
    hint: 'These beginnings stand under http.identities in the configuration of this host.',
  });
}

/** What the routes and hooks of the HTTP API add to Fastify's own types. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance, RawServerBase } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { HttpRight } from '../../core/settings/http-settings.ts';
import type { Caller } from './callers.ts';
import type { Refused } from './refusal.ts';

/** How the Go provisioner calls what goes wrong on one of its routes, by status; `failed` for all others. */
export type CompatibleTitles = Readonly<Record<number, string>> & { readonly failed: string };

/** How a page refuses: as a page. */
export interface PageConfig {
  readonly headers: Readonly<Record<string, string>>;
  readonly type: string;
  /** A browser asks for a token, and sends it as the password of HTTP Basic (RFC 7617). Taken here and nowhere else. */
  readonly takesBasic: boolean;
  readonly refused: (refused: Refused) => string;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** One of these is needed; absent: anybody may call. */
    readonly rights?: readonly HttpRight[];
    /** What is written into the audit trail; absent: only refusals are. */
    readonly changes?: string;
    /** Set on the routes of the Go provisioner. */
    readonly compatible?: CompatibleTitles;
    /** Set on what is for people with a browser. */
    readonly page?: PageConfig;
    /** Anybody may call this one all the same. */
    readonly isOpenTo?: (address: string) => boolean;
  }
  interface FastifyRequest {
    caller: Caller | undefined;
    refused: Refused | undefined;
    isQuiet: boolean;
    /** What the audit trail says the request was about. */
    about: { volume?: string; domain?: string; correlationId?: string };
  }
}

export type Api = FastifyInstance<
  RawServerBase,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** One HTTP exchange with the store at a time, as the minio client words and signs it, and within limits. */
import http from 'node:http';
import https from 'node:https';
import type { Client } from 'minio';
import type { Subnet } from '../../core/settings/subnet.ts';
import { StoreAddresses } from './addresses.ts';
import type { StoreAccess } from './requests.ts';
import { isSecure, minioClient } from './requests.ts';
import { wasStale, watchedTransport } from './transport.ts';

const STALE_TRIES_MAX = 8;

export interface ExchangeOptions {
  /** PEM; without it the system's authorities are trusted. */
  readonly caPem?: string | undefined;
  /** Connections are made with these alone. */
  readonly addresses?: readonly Subnet[] | undefined;
  readonly connectTimeoutMs: number;
  readonly idleTimeoutMs: number;
}

/** The client's words for a request. */
export type ClientRequest = Parameters<Client['makeRequestAsync']>[0];

export class StoreExchange {
  readonly access: StoreAccess;
  readonly addresses: StoreAddresses | undefined;
  readonly #limits: Pick<ExchangeOptions, 'connectTimeoutMs' | 'idleTimeoutMs'>;
  readonly #agent: http.Agent;

  constructor(access: StoreAccess, options: ExchangeOptions) {
    const { caPem, connectTimeoutMs, idleTimeoutMs } = options;
    this.access = access;
    this.#limits = { connectTimeoutMs, idleTimeoutMs };
    const ca = caPem === undefined ? {} : { ca: caPem };
    this.addresses = options.addresses === undefined ? undefined : new StoreAddresses(options.addresses);
    const lookup = this.addresses === undefined ? {} : { lookup: this.addresses.lookup };
    this.#agent = isSecure(access)
      ? new https.Agent({ keepAlive: true, minVersion: 'TLSv1.2', ...ca, ...lookup })
      : new http.Agent({ keepAlive: true, ...lookup });
  }

  /** Rejects unless the status is 200 or 206. */
  async send(request: ClientRequest): Promise<http.IncomingMessage> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#exchange(request, { totalTimeoutMs: 2 * this.#limits.idleTimeoutMs });
      } catch (error) {
        // Each try takes one dead connection out of the agent's pool.
        if (!wasStale(error) || tries === STALE_TRIES_MAX) throw error;
      }
    }
  }

  /** The same for an answer that does not end by itself: the signal ends it, or nothing having come for so long. */
  async open(
    request: ClientRequest,
    idleTimeoutMs: number,
    signal: AbortSignal,
  ): Promise<http.IncomingMessage> {
    return this.#exchange(request, { idleTimeoutMs, totalTimeoutMs: undefined, signal });
  }

  /** Closes all connections, also those over which something still comes. */
  close(): void {
    this.#agent.destroy();
  }

  #exchange(
    request: ClientRequest,
    limits: {
      readonly idleTimeoutMs?: number;
      readonly totalTimeoutMs: number | undefined;
      readonly signal?: AbortSignal;
    },
  ): Promise<http.IncomingMessage> {
    const transport = watchedTransport(
      isSecure(this.access),
      { ...this.#limits, ...limits },
      this.#agent,
      this.addresses,
    );
    return minioClient(this.access, transport).makeRequestAsync(request, '', [200, 206], this.access.region);
  }
}

/** The HTTP API: requests, and until when what it and its callers prove themselves with is good. */
import type { Registry } from 'prom-client';
import { Counter, Gauge, Histogram } from 'prom-client';
import type { HttpCredential } from '../../core/settings/http-settings.ts';

const BUCKETS_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export class HttpMetrics {
  readonly #requests;
  readonly #durations;
  readonly #expiry;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#requests = new Counter({
      name: 'libvirt_volume_provisioner_requests_total',
      help: 'Requests to the HTTP API.',
      labelNames: ['method', 'endpoint', 'status'],
      registers,
    });
    this.#durations = new Histogram({
      name: 'lvp_http_request_duration_seconds',
      help: 'Time for a request to the HTTP API.',
      labelNames: ['method', 'endpoint'],
      buckets: BUCKETS_SECONDS,
      registers,
    });
    this.#expiry = new Gauge({
      name: 'lvp_credential_expiry_timestamp_seconds',
      help: 'When the credential that expires first of its kind does so.',
      labelNames: ['credential'],
      registers,
    });
  }

  /** `route` is a pattern, such as /api/v1/status/:id, or `unknown`: what callers make up must not be in it. */
  onRequest(method: string, route: string, status: number, seconds: number): void {
    this.#requests.inc({ method, endpoint: route, status: String(status) });
    this.#durations.observe({ method, endpoint: route }, seconds);
  }

  /** The first of its kind, as Unix time in ms; undefined: there is none that expires. */
  setExpiry(credential: HttpCredential, expiresAtMs: number | undefined): void {
    if (expiresAtMs === undefined) this.#expiry.remove({ credential });
    else this.#expiry.set({ credential }, expiresAtMs / 1000);
  }
}

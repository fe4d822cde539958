/** The section `http` of the configuration file: whether and how the HTTP API is offered. */
import { isIP, isIPv6 } from 'node:net';
import { z } from 'zod';
import type { HttpIdentity, HttpSettings } from '../../core/settings/http-settings.ts';
import { HTTP_RIGHTS } from '../../core/settings/http-settings.ts';
import { flag, leaf, listOf, names, oneOf, path, someOf, whole } from './leaves.ts';

/** Ports below are for root to open, and the daemon is not root. */
const PORT_MIN = 1024;

const listen = leaf(
  `an address of this host and a port from ${PORT_MIN} to 65535 (the service user may not open lower ones), such as 0.0.0.0:8080, 127.0.0.1:8080 or [::]:8080`,
  (value): { readonly host: string; readonly port: number } | undefined => {
    const [, six, four, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(String(value)) ?? [];
    const [host = '', port] = [six ?? four, Number(digits)];
    const isAddress = six === undefined ? isIP(host) === 4 : isIPv6(host);
    return isAddress && port >= PORT_MIN && port <= 65_535 ? { host, port } : undefined;
  },
);

function text(allowed: string, pattern: RegExp) {
  return leaf(allowed, (value) => (typeof value === 'string' && pattern.test(value) ? value : undefined));
}

const Identity = z
  .strictObject({
    certificate: text(
      "a certificate's subject such as CN=ci,O=Example, or its common name alone",
      /^[^\p{Cc}]{1,1024}$/u,
    ).optional(),
    token: text('the name of a token: letters, digits, _ and -', /^[A-Za-z0-9_-]{1,64}$/).optional(),
    verbs: someOf(...HTTP_RIGHTS),
    volume_prefixes: leaf('a list of at least one beginning of names of volumes', (value) =>
      listOf(value, (one) =>
        typeof one === 'string' && /^[A-Za-z0-9+_.][A-Za-z0-9+_.-]{0,126}$/.test(one) ? one : undefined,
      ),
    ).optional(),
  })
  .superRefine(({ certificate, token }, context) => {
    if ((certificate === undefined) !== (token === undefined)) return;
    const message = 'either certificate or token in each entry';
    context.addIssue({ code: 'custom', path: ['certificate'], message });
  });

const Fields = z.strictObject({
  listen,
  tls: z.strictObject({ cert_file: path, key_file: path, client_ca_file: path.optional() }).optional(),
  allow_plain_loopback: flag.default(false),
  tokens_file: path.optional(),
  identities: z.array(Identity).min(1, 'a list of at least one identity').max(1_000),
  pool: text('the name of a libvirt pool', /^[^\p{Cc}/]{1,255}$/u).optional(),
  image_hosts: names(
    'a host as it stands in URLs, with its port if it has one',
    /^[A-Za-z0-9.:[\]-]{1,255}$/,
    0,
  ).default([]),
  metrics_open_to: oneOf('nobody', 'loopback', 'everybody').default('loopback'),
  requests_per_second_max: whole(1, 100_000).default(2_000),
  failures_per_minute_max: whole(1, 10_000).default(30),
  connections_max: whole(1, 10_000).default(256),
});

export const Http = Fields.superRefine((http, context) => {
  const mistake = (key: string, message: string) => {
    context.addIssue({ code: 'custom', path: [key], message });
  };
  // A leaf that was refused is not there.
  const { host } = (http.listen as typeof http.listen | undefined) ?? { host: '127.0.0.1' };
  if (http.tls === undefined && !(http.allow_plain_loopback && isLoopback(host))) {
    mistake(
      'tls',
      'a cert_file and a key_file; without TLS only a loopback address is listened on, and only with http.allow_plain_loopback: true',
    );
  }
  if (http.tokens_file === undefined && http.tls?.client_ca_file === undefined) {
    mistake('tokens_file', 'a file of tokens (lvp token create), unless http.tls.client_ca_file is given');
  }
  for (const [index, identity] of (Array.isArray(http.identities) ? http.identities : []).entries()) {
    const isVain =
      (identity.token !== undefined && http.tokens_file === undefined) ||
      (identity.certificate !== undefined && http.tls?.client_ca_file === undefined);
    if (!isVain) continue;
    context.addIssue({
      code: 'custom',
      path: ['identities', index, identity.token === undefined ? 'certificate' : 'token'],
      message: 'a token only with http.tokens_file, a certificate only with http.tls.client_ca_file',
    });
  }
});

function isLoopback(host: string): boolean {
  return host === '::1' || host.startsWith('127.');
}

export function toHttpSettings(http: z.infer<typeof Http>): HttpSettings {
  const { tls } = http;
  return {
    ...http.listen,
    tls: tls && { certFile: tls.cert_file, keyFile: tls.key_file, clientCaFile: tls.client_ca_file },
    tokensFile: http.tokens_file,
    identities: http.identities.map(
      ({ volume_prefixes: volumePrefixes = [], ...identity }): HttpIdentity => ({
        ...identity,
        volumePrefixes,
      }),
    ),
    pool: http.pool,
    imageHosts: http.image_hosts,
    metricsOpenTo: http.metrics_open_to,
    requestsPerSecondMax: http.requests_per_second_max,
    failuresPerMinuteMax: http.failures_per_minute_max,
    connectionsMax: http.connections_max,
  };
}

import type { FakeHost } from '../fake-host.ts';
import { DAY_MS, ETC, NOW_MS, SERVICE_GID, SERVICE_UID } from '../fake-host.ts';
import type { Breakage } from './breakage.ts';
import { breakage } from './breakage.ts';

const TLS = {
  ...{ certFile: `${ETC}/tls/server.crt`, keyFile: `${ETC}/tls/server.key` },
  clientCaFile: `${ETC}/tls/clients.crt`,
};
const TOKENS = `${ETC}/tokens`;

/** From 2026-01-01 to 2027-01-30T12:00Z, 61 days after NOW_MS. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBCDCBrgIBATAKBggqhkjOPQQDAjAQMQ4wDAYDVQQDDAVob3N0MTAeFw0yNjAx
MDEwMDAwMDBaFw0yNzAxMzAxMjAwMDBaMBAxDjAMBgNVBAMMBWhvc3QxMFkwEwYH
KoZIzj0CAQYIKoZIzj0DAQcDQgAEmMHE6I6nN+V/YZxcubIRIoFTOkDphSqyYAE6
GL7E+AGpiizBx3UtyOr5h2zaF3dWw3WspNy/qldspPZnT0/5PjAKBggqhkjOPQQD
AgNJADBGAiEA7riav6edQg9brn3QaKJcGeSsso2ka5stDgw2k2oWZxQCIQDcsc5Q
Iur8L3FaRkRT+RJDxUgVeb6bLyC1hTcKraKHlw==
-----END CERTIFICATE-----
`;
const LEFT_MS = 61 * DAY_MS;

/** As docs/http-api.md has it. */
export function offerHttp(host: FakeHost): void {
  const service = { uid: SERVICE_UID, gid: SERVICE_GID };
  host.configured = { ...host.configured, http: { port: 8080, tls: TLS, tokensFile: TOKENS } };
  for (const path of [TLS.certFile, TLS.clientCaFile])
    host.file(path, 0o644, { uid: 0, gid: 0 }, CERTIFICATE);
  host.file(TLS.keyFile, 0o600, service, 'key');
  host.file(TOKENS, 0o600, service, 'ci:hash');
}

function offered(alter: (host: FakeHost) => void): Breakage['breaks'] {
  return (host) => {
    offerHttp(host);
    alter(host);
  };
}

function at(timeMs: number): Breakage['breaks'] {
  return offered((host) => {
    host.nowMs = () => timeMs;
  });
}

export const HTTP: readonly Breakage[] = [
  breakage(
    'http.key',
    offered((host) => {
      host.alter(TLS.keyFile, { mode: 0o644 });
    }),
    'fail',
    /server\.key has mode 0644/,
    true,
  ),
  breakage(
    'http.key',
    offered((host) => {
      host.alter(TLS.keyFile, { uid: 1000 });
    }),
    'fail',
    /belongs to user 1000/,
  ),
  breakage(
    'http.tokens',
    offered((host) => {
      host.alter(TOKENS, { mode: 0o640 });
    }),
    'fail',
    /tokens has mode 0640/,
    true,
  ),
  breakage(
    'http.tokens-rotated',
    offered((host) => {
      host.alter(TOKENS, { mtimeMs: NOW_MS - 101 * DAY_MS });
    }),
    'warn',
    /101 days/,
  ),
  breakage('http.certificates', at(NOW_MS + LEFT_MS), 'fail', /run out: .*server\.crt, .*clients\.crt/),
  breakage(
    'http.certificates',
    at(NOW_MS + LEFT_MS - 29.5 * DAY_MS),
    'warn',
    /server\.crt runs out in 29 days/,
  ),
  breakage(
    'http.certificates',
    offered((host) => {
      host.alter(TLS.clientCaFile, { text: '' });
    }),
    'unknown',
    /clients\.crt holds no certificate/,
  ),
];

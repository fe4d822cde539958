import { DAY_MS, NOW_MS } from '../fake-host.ts';
import type { Breakage } from './breakage.ts';
import { breakage, withCertificate, withEndpoint } from './breakage.ts';

export const TRANSPORT: readonly Breakage[] = [
  breakage(
    'transport.no-listener',
    (host) => {
      host.listening = ['tcp 0.0.0.0:8080'];
    },
    'fail',
    /0\.0\.0\.0:8080/,
  ),
  breakage(
    'transport.no-listener',
    (host) => {
      host.listening = ['tcp 0.0.0.0:8080', 'tcp 0.0.0.0:8081'];
      host.configured = { ...host.configured, http: { port: 8080, tls: { certFile: '/a', keyFile: '/b' } } };
    },
    'fail',
    /^[^,]*0\.0\.0\.0:8081$/,
  ),
  breakage(
    'transport.no-listener',
    (host) => {
      host.listening = ['tcp 127.0.0.1:8080'];
      host.configured = { ...host.configured, http: { port: 8080 } };
    },
    'info',
    /without TLS/,
  ),
  breakage(
    'transport.firewall',
    (host) => {
      host.says('firewall-chains', 'chain input { type filter hook input priority 0; policy accept; }');
    },
    'info',
    /no input chain/,
  ),
  breakage(
    'transport.firewall',
    (host) => {
      host.commands.set('firewall-chains', { is: 'absent' });
    },
    'info',
    /no nft/,
  ),
  breakage(
    'transport.store-https',
    (host) => {
      withEndpoint(host, 'http://minio.example.net:9000');
    },
    'fail',
    /plain http/,
  ),
  breakage(
    'transport.store-https',
    (host) => {
      withEndpoint(host, 'http://127.0.0.1:9000');
    },
    'info',
    /without TLS/,
  ),
  breakage(
    'transport.store-certificate',
    (host) => {
      withCertificate(host, { mistake: 'self-signed certificate' });
    },
    'fail',
    /self-signed/,
  ),
  breakage(
    'transport.store-certificate',
    (host) => {
      withCertificate(host, { protocol: 'TLSv1.1' });
    },
    'fail',
    /TLSv1\.1/,
  ),
  breakage(
    'transport.store-certificate-expiry',
    (host) => {
      withCertificate(host, { expiresMs: NOW_MS + 5 * DAY_MS });
    },
    'warn',
    /in 5 days/,
  ),
  breakage(
    'transport.store-certificate-expiry',
    (host) => {
      withCertificate(host, { expiresMs: NOW_MS - 1 });
    },
    'fail',
    /has run out/,
  ),
  breakage(
    'transport.store-certificate-expiry',
    (host) => {
      host.stored = { ...host.stored, certificate: undefined };
    },
    'unknown',
    /without TLS/,
  ),
  breakage(
    'transport.tls-not-disabled',
    (host) => {
      host.units.daemon['Environment'] = 'A=b NODE_TLS_REJECT_UNAUTHORIZED=0';
    },
    'fail',
    /is set/,
  ),
  breakage(
    'transport.tls-not-disabled',
    (host) => {
      host.append('/proc/4711/environ', 'NODE_TLS_REJECT_UNAUTHORIZED=0\0');
    },
    'fail',
    /is set/,
  ),
];

import { KEY_FOLDER } from '../../../src/core/key/key-file.ts';
import type { FakeHost } from '../fake-host.ts';
import { DAY_MS, NOW_MS } from '../fake-host.ts';
import type { Breakage } from './breakage.ts';
import { breakage } from './breakage.ts';

const ROOT = { uid: 0, gid: 0 };

/** A host with a key server and a key of its own, on which all is well. */
export function offerKeys(host: FakeHost): void {
  host.configured = {
    ...host.configured,
    keys: {
      barbican: { url: new URL('https://keys.test:9311/v1'), authUrl: new URL('https://keys.test:5000/v3') },
    },
  };
  host.folder(KEY_FOLDER, 0o700, ROOT);
  host.file(`${KEY_FOLDER}/web1.cred`, 0o600, ROOT, 'encrypted');
}

function withCertificate(host: FakeHost, changed: { mistake?: string; expiresMs?: number }): void {
  const certificates = host.keyServed.certificates.map((one) => ({ ...one, ...changed }));
  const identity = changed.mistake === undefined ? host.keyServed.identity : undefined;
  host.keyServed = { certificates, identity };
}

function broken(
  id: string,
  breaks: (host: FakeHost) => void,
  ...rest: [Breakage['severity'], RegExp, true?]
) {
  return breakage(
    id,
    (host) => {
      offerKeys(host);
      breaks(host);
    },
    ...rest,
  );
}

export const KEYS: readonly Breakage[] = [
  broken(
    'keys.reachable',
    (host) => {
      host.keyServerMistake = 'keys.test:5000: connect ECONNREFUSED';
    },
    'fail',
    /ECONNREFUSED/,
  ),
  broken(
    'keys.https',
    (host) => {
      const { barbican } = host.configured.keys;
      if (barbican === undefined) return;
      const url = new URL('http://127.0.0.1:9311/v1');
      host.configured = { ...host.configured, keys: { barbican: { ...barbican, url } } };
    },
    'info',
    /127\.0\.0\.1:9311/,
  ),
  broken(
    'keys.certificate',
    (host) => {
      withCertificate(host, { mistake: 'self-signed certificate' });
    },
    'fail',
    /keys\.test:5000: self-signed/,
  ),
  broken(
    'keys.certificate-expiry',
    (host) => {
      withCertificate(host, { expiresMs: NOW_MS + 10 * DAY_MS });
    },
    'warn',
    /in 10 days/,
  ),
  broken(
    'keys.certificate-expiry',
    (host) => {
      withCertificate(host, { expiresMs: NOW_MS - DAY_MS });
    },
    'fail',
    /run out/,
  ),
  broken(
    'keys.identity',
    (host) => {
      host.keyServed = { ...host.keyServed, identity: { mistake: 'Keystone refuses the identity' } };
    },
    'fail',
    /refuses the identity/,
  ),
  broken(
    'keys.identity',
    (host) => {
      withCertificate(host, { mistake: 'self-signed certificate' });
    },
    'unknown',
    /not asked/,
  ),
  broken(
    'keys.files',
    (host) => {
      host.alter(`${KEY_FOLDER}/web1.cred`, { mode: 0o644 });
    },
    'fail',
    /0644/,
    true,
  ),
  broken(
    'keys.folder',
    (host) => {
      host.alter(KEY_FOLDER, { mode: 0o755 });
    },
    'fail',
    /0755/,
    true,
  ),
];

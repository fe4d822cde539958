/** What can be learnt of the key server without reading a key: its certificates, and whether this host's identity works. */
import net from 'node:net';
import tls from 'node:tls';
import { ProvisionError } from '../../core/errors.ts';
import type { BarbicanSettings } from '../../core/settings/key-settings.ts';
import type { KeyServerFacts } from '../../doctor/host.ts';
import { BarbicanKeys } from './barbican.ts';
import { askForToken } from './keystone.ts';
import { KeyRequests } from './requests.ts';

const TIME_MAX_MS = 5_000;
/** A key of this name there is never: it is asked for in order to hear so. */
const NO_KEY = '00000000-0000-4000-8000-000000000000';

/** Throws if nobody answers, or the identity does not work. */
export async function probeKeyServer(settings: BarbicanSettings): Promise<KeyServerFacts> {
  const { url, authUrl, ca } = settings;
  const secure = [authUrl, url].filter(({ protocol }) => protocol === 'https:');
  const certificates = await Promise.all(secure.map(async (one) => shakeHands(one, ca)));
  // The secret goes to nobody who cannot prove to be the one that it is for.
  if (certificates.some(({ mistake }) => mistake !== undefined)) return { certificates, identity: undefined };
  return { certificates, identity: await identityOf(settings) };
}

/** Throws what a reading would: KEY_DENIED if Keystone or Barbican does not know this identity, KEY_SERVER_UNREACHABLE. */
export async function tryIdentity(settings: BarbicanSettings): Promise<void> {
  const keys = new BarbicanKeys(settings, { limitMs: TIME_MAX_MS });
  try {
    const key = await keys.read({ provider: 'barbican', id: NO_KEY }, AbortSignal.timeout(TIME_MAX_MS * 2));
    key.wipe();
  } catch (error) {
    if (!(error instanceof ProvisionError && error.code === 'KEY_NOT_FOUND')) throw error;
  }
}

async function identityOf(settings: BarbicanSettings): Promise<KeyServerFacts['identity']> {
  const { authUrl, applicationCredentialId: id, applicationCredentialSecret: secret } = settings;
  try {
    const identity = { kind: 'application-credential', id, secret } as const;
    const signal = AbortSignal.timeout(TIME_MAX_MS);
    const { userId } = await askForToken(new KeyRequests(settings), authUrl, identity, signal);
    await tryIdentity(settings);
    return { userId };
  } catch (error) {
    return { mistake: error instanceof Error ? error.message : String(error) };
  }
}

type Certificate = KeyServerFacts['certificates'][number];

/** A handshake and nothing else; the certificate is looked at whether it is accepted or not. */
async function shakeHands(url: URL, ca: string | undefined): Promise<Certificate> {
  const { promise, resolve, reject } = Promise.withResolvers<Certificate>();
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const socket = tls.connect({
    ...{ host, port: Number(url.port) || 443, minVersion: 'TLSv1.2', rejectUnauthorized: false },
    ...(net.isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === undefined ? {} : { ca }),
  });
  socket.setTimeout(TIME_MAX_MS, () =>
    socket.destroy(new Error(`${url.host}: no connection within ${TIME_MAX_MS / 1000} s`)),
  );
  socket.once('error', (error: Error) => {
    reject(new Error(`${url.host}: ${error.message}`));
  });
  socket.once('secureConnect', () => {
    const certificate = socket.getPeerCertificate();
    const mistake = socket.authorized
      ? undefined
      : (tls.checkServerIdentity(host, certificate)?.message ?? String(socket.authorizationError));
    resolve({ server: url.host, mistake, expiresMs: Date.parse(certificate.valid_to) });
    socket.destroy();
  });
  return promise;
}

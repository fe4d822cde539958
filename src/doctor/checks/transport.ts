/** How bytes come and go: who listens, and how the store is reached. */
import type { Check } from '../check.ts';
import { CannotTell, configOf, fail, ifThere, info, must, ok, some, SOURCE, warn } from '../check.ts';
import type { HostFacts, StoreFacts } from '../host.ts';
import { SERVICE } from '../names.ts';
import { daemonPid, shownUnit } from '../unit.ts';

const DAY_MS = 86_400_000;
/** A month is how often the guide has expiry looked at. */
const EXPIRES_SOON_MS = 30 * DAY_MS;

/** `tcp 0.0.0.0:8080` */
function isPort(listener: string, port: number): boolean {
  return listener.startsWith('tcp ') && listener.endsWith(`:${port}`);
}

async function certificateOf(host: HostFacts): Promise<NonNullable<StoreFacts['certificate']>> {
  await configOf(host);
  const { certificate } = must(await host.store(), 'the store');
  if (certificate !== undefined) return certificate;
  throw new CannotTell('the store is reached without TLS');
}

export const TRANSPORT_CHECKS: readonly Check[] = [
  {
    id: 'transport.no-listener',
    title: 'the daemon takes connections from the network only for the HTTP API, if that is set up',
    why: 'With no port there is nobody to authenticate: lvp comes over a unix socket whose group decides. The HTTP API wants TLS, and tokens or client certificates, before it listens.',
    source: SOURCE.guide('Authentication & Authorization'),
    fix: `This program opens no port but http.listen: see what runs under its unit (systemctl status ${SERVICE}).`,
    look: async (host) => {
      const found = must(await host.listeners(await daemonPid(host)), 'its sockets');
      if (found.length === 0) return ok('no TCP or UDP socket listens');
      const { http } = await configOf(host);
      const others = found.filter((one) => http === undefined || !isPort(one, http.port));
      if (others.length > 0) return fail(`it listens at ${some(others)}`);
      return http?.tls === undefined
        ? info(`the HTTP API listens at ${some(found)}, without TLS`)
        : ok(`the HTTP API listens at ${some(found)}, over TLS`);
    },
  },
  {
    id: 'transport.firewall',
    title: 'the host refuses incoming connections by default',
    why: 'This program needs no incoming port, but libvirt, QEMU and others of the host may open some.',
    source: `${SOURCE.guide('Firewall Rules')}; ${SOURCE.notes('2.1')}`,
    fix: 'Give the input chain the policy drop, with rules for what is needed (ssh, migration between hosts).',
    look: async (host) => {
      const chains = ifThere(await host.run('firewall-chains'), 'nft');
      if (chains === undefined) return info('there is no nft to ask');
      const refuses = /hook input [^}]*policy drop/.test(chains);
      return refuses
        ? ok('an input chain drops by default')
        : info('no input chain of nftables drops by default');
    },
  },
  {
    id: 'transport.store-https',
    title: 'the store is reached over HTTPS',
    why: 'Otherwise images, and digests beside them, can be read and exchanged on the way.',
    source: SOURCE.guide('Request Validation'),
    fix: 'Set minio.endpoint to an https URL, and minio.ca_file if its authority is your own.',
    look: async (host) => {
      const { endpoint } = (await configOf(host)).minio;
      if (endpoint.protocol === 'https:') return ok(endpoint.host);
      const isHere = /^(localhost|127\.[\d.]+|\[::1\])$/.test(endpoint.hostname);
      return isHere
        ? info(`${endpoint.host}, on this host itself, without TLS`)
        : fail(`${endpoint.host} is reached over plain http`);
    },
  },
  {
    id: 'transport.store-certificate',
    title: "the store's certificate is verified",
    why: 'Who can pose as the store hands out images of his own where no digest in the annotation says otherwise.',
    source: SOURCE.guide('Mutual TLS'),
    fix: 'Set minio.ca_file to the authority that signed it, or have it signed for the name in minio.endpoint.',
    look: async (host) => {
      const { mistake, protocol } = await certificateOf(host);
      if (mistake !== undefined) return fail(`it is not accepted: ${mistake}`);
      return /^TLSv1\.[23]$/.test(protocol) ? ok(`verified, ${protocol}`) : fail(`spoken is ${protocol}`);
    },
  },
  {
    id: 'transport.store-certificate-expiry',
    title: "the store's certificate does not run out soon",
    why: 'From that moment on nothing is filled.',
    source: SOURCE.guide('Operational Checklist'),
    fix: 'Renew it on the store.',
    look: async (host) => {
      const leftMs = (await certificateOf(host)).expiresMs - host.nowMs();
      const days = Math.floor(leftMs / DAY_MS);
      if (leftMs <= 0) return fail('it has run out');
      return leftMs < EXPIRES_SOON_MS ? warn(`it runs out in ${days} days`) : ok(`${days} days left`);
    },
  },
  {
    id: 'transport.tls-not-disabled',
    title: 'verification of certificates is not switched off by the environment',
    why: 'NODE_TLS_REJECT_UNAUTHORIZED=0 makes Node accept every certificate, whatever the configuration says.',
    source: SOURCE.guide('Mutual TLS'),
    fix: `Take it out of the unit's environment: systemctl cat ${SERVICE}.`,
    look: async (host) => {
      const unit = (await shownUnit(host, 'show-daemon')).words('Environment');
      const path = `/proc/${await daemonPid(host)}/environ`;
      const running = must(await host.readText(path), path).split('\0');
      const isOff = [...unit, ...running].some((word) => /^"?NODE_TLS_REJECT_UNAUTHORIZED=0/.test(word));
      return isOff
        ? fail('NODE_TLS_REJECT_UNAUTHORIZED=0 is set')
        : ok('not in the unit, nor in the running daemon');
    },
  },
];

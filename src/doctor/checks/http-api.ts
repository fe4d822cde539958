/** What the HTTP API lives on, where it is set up: its key, its tokens, its certificates. */
import { X509Certificate } from 'node:crypto';
import type { Check } from '../check.ts';
import { CannotTell, configOf, fail, must, ok, SOURCE, warn } from '../check.ts';
import type { ConfigFacts, HostFacts } from '../host.ts';
import type { WantedRights } from '../rights.ts';
import { rightsCheck } from '../rights.ts';

const DAY_MS = 86_400_000;
/** A quarter, and some days to do it. */
const CHANGED_WITHIN_MS = 100 * DAY_MS;
const EXPIRES_SOON_MS = 30 * DAY_MS;
const NONE = ok('there is no HTTP API');

type Http = NonNullable<ConfigFacts['http']>;

/** Its answer where there is an HTTP API that has such a file. */
function about(file: (http: Http) => string | undefined, look: Check['look']): Check['look'] {
  return async (host) => {
    const { http } = await configOf(host);
    if (http === undefined) return NONE;
    return file(http) === undefined ? ok('it has none') : look(host);
  };
}

/** A check of the rights of one file, with its repair. */
function fileCheck(
  text: Parameters<typeof rightsCheck>[0],
  file: (http: Http) => string | undefined,
  wanted: Pick<WantedRights, 'modeMax' | 'owners'>,
): Check {
  const paths = async (host: HostFacts) => {
    const { http } = await configOf(host);
    return [http && file(http)].filter((path) => path !== undefined);
  };
  const check = rightsCheck(text, { ...wanted, paths, kind: 'file' });
  return { ...check, look: about(file, check.look) };
}

const tokensFile = (http: Http) => http.tokensFile;
const keyFile = (http: Http) => http.tls?.keyFile;
const certFile = (http: Http) => http.tls?.certFile;

async function httpOf(host: HostFacts): Promise<Http> {
  const { http } = await configOf(host);
  if (http !== undefined) return http;
  throw new CannotTell('there is no HTTP API');
}

/** When the first certificate of a file ends, as Unix time in ms. */
async function endOf(host: HostFacts, path: string): Promise<number> {
  const text = must(await host.readText(path), path);
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new CannotTell(`${path} holds no certificate in PEM form`);
  return Math.min(...blocks.map((block) => Date.parse(new X509Certificate(block).validTo)));
}

export const HTTP_CHECKS: readonly Check[] = [
  fileCheck(
    {
      id: 'http.key',
      title: "the HTTP API's private key is readable by the service alone",
      why: 'Whoever has it can pose as this host, and read what callers send.',
      source: SOURCE.guide('File Permissions'),
      fix: 'chmod 0600 and chown libvirt-volume-provisioner (or 0640 with a group of its own); if others may have read it, make a new one.',
    },
    keyFile,
    { modeMax: 0o640, owners: ['root', 'service'] },
  ),
  fileCheck(
    {
      id: 'http.tokens',
      title: 'the file of tokens is readable by the service alone',
      why: 'It holds hashes, and who may write it makes tokens.',
      source: SOURCE.guide('File Permissions'),
      fix: 'chmod 0600 and chown libvirt-volume-provisioner the file in http.tokens_file.',
    },
    tokensFile,
    { modeMax: 0o600, owners: ['service'] },
  ),
  {
    id: 'http.tokens-rotated',
    title: 'tokens are changed each quarter',
    why: 'A token that was copied once is of use until it is revoked. What is known is only when one was last made or revoked.',
    source: SOURCE.guide('API Token Authentication'),
    fix: 'sudo lvp token list; make a new one (lvp token create), give it to whoever calls, revoke the old one.',
    look: about(tokensFile, async (host) => {
      const { tokensFile: path = '' } = await httpOf(host);
      const ageMs = host.nowMs() - must(await host.stat(path), path).mtimeMs;
      return (ageMs > CHANGED_WITHIN_MS ? warn : ok)(`last changed ${Math.floor(ageMs / DAY_MS)} days ago`);
    }),
  },
  {
    id: 'http.certificates',
    title: "the HTTP API's certificates do not run out soon",
    why: 'From that moment on its callers refuse this host, or this host refuses them; and after a restart the daemon refuses to start.',
    source: SOURCE.guide('Operational Checklist'),
    fix: 'Put new ones in the place of the old: they are taken over by themselves (docs/http-api.md).',
    look: about(certFile, async (host) => {
      const { tls } = await httpOf(host);
      const files = [tls?.certFile, tls?.clientCaFile].filter((path) => path !== undefined);
      const ends = await Promise.all(
        files.map(async (path) => ({ path, leftMs: (await endOf(host, path)) - host.nowMs() })),
      );
      const over = ends.filter(({ leftMs }) => leftMs <= 0);
      const soon = ends.filter(({ leftMs }) => leftMs < EXPIRES_SOON_MS);
      const told = (some: typeof ends) =>
        some.map(({ path, leftMs }) => `${path} runs out in ${Math.floor(leftMs / DAY_MS)} days`).join('; ');
      if (over.length > 0) return fail(`run out: ${over.map(({ path }) => path).join(', ')}`);
      return soon.length > 0 ? warn(told(soon)) : ok(told(ends));
    }),
  },
];

/** Keys of encrypted volumes: the key server, this host's identity there, and files of keys. */
import { KEY_FILE_SUFFIX, KEY_FOLDER } from '../../core/key/key-file.ts';
import type { Check } from '../check.ts';
import { CannotTell, configOf, fail, ifThere, info, must, ok, SOURCE, warn } from '../check.ts';
import type { HostFacts, KeyServerFacts } from '../host.ts';
import type { WantedRights } from '../rights.ts';
import { rightsCheck } from '../rights.ts';

const DAY_MS = 86_400_000;
const EXPIRES_SOON_MS = 30 * DAY_MS;
const NONE = ok('there is no key server');
const SETUP = SOURCE.encryption('Keys in Barbican');

/** Its answer where there is a key server. */
function about(look: (facts: KeyServerFacts, host: HostFacts) => ReturnType<typeof ok>): Check['look'] {
  return async (host) => {
    const { keys } = await configOf(host);
    if (keys.barbican === undefined) return NONE;
    return look(must(await host.keyServer(), 'the key server'), host);
  };
}

/** A check of rights, where there is anything of that kind. */
function ofFiles(text: Parameters<typeof rightsCheck>[0], wanted: WantedRights): Check {
  const check = rightsCheck(text, wanted);
  const look: Check['look'] = async (host) => {
    const names = ifThere(await host.list(KEY_FOLDER), KEY_FOLDER) ?? [];
    return names.length === 0 ? ok('there are no keys of files') : check.look(host);
  };
  return { ...check, look };
}

export const KEY_CHECKS: readonly Check[] = [
  {
    id: 'keys.reachable',
    title: 'the key server answers',
    why: 'Without it no guest with an encrypted disk is filled or started; running ones go on.',
    source: SETUP,
    fix: 'See that Keystone and Barbican run and can be reached from this host: keys.barbican in the configuration.',
    look: async (host) => {
      const { barbican } = (await configOf(host)).keys;
      if (barbican === undefined) return NONE;
      const answer = await host.keyServer();
      if (answer.is === 'known') return ok(`${barbican.authUrl.host}, ${barbican.url.host}`);
      return fail(answer.is === 'absent' ? 'nobody answers' : answer.why);
    },
  },
  {
    id: 'keys.https',
    title: 'the key server is reached over HTTPS',
    why: 'Otherwise whoever is on the way reads the keys.',
    source: SETUP,
    fix: 'Set keys.barbican.url and auth_url to https URLs.',
    look: async (host) => {
      const { barbican } = (await configOf(host)).keys;
      if (barbican === undefined) return NONE;
      const plain = [barbican.authUrl, barbican.url].filter(({ protocol }) => protocol !== 'https:');
      if (plain.length === 0) return ok('both servers are');
      return info(`${plain.map(({ host: name }) => name).join(', ')}: on this host itself, without TLS`);
    },
  },
  {
    id: 'keys.certificate',
    title: "the key server's certificates are verified",
    why: 'Who can pose as Keystone is given the identity of this host, and with it every key that it may read.',
    source: SETUP,
    fix: 'Set keys.barbican.ca_file to the authority that signed them, or have them signed for the names in url and auth_url.',
    look: about(({ certificates }) => {
      const wrong = certificates.filter(({ mistake }) => mistake !== undefined);
      if (wrong.length === 0) return ok('they are accepted');
      return fail(wrong.map(({ server, mistake = '' }) => `${server}: ${mistake}`).join('; '));
    }),
  },
  {
    id: 'keys.certificate-expiry',
    title: "the key server's certificates do not run out soon",
    why: 'From that moment on no guest with an encrypted disk starts.',
    source: SETUP,
    fix: 'Renew them on the key server.',
    look: about(({ certificates }, host) => {
      if (certificates.length === 0) return ok('it is reached without TLS');
      const leftMs = Math.min(...certificates.map(({ expiresMs }) => expiresMs)) - host.nowMs();
      const days = Math.floor(leftMs / DAY_MS);
      if (leftMs <= 0) return fail('one has run out');
      return leftMs < EXPIRES_SOON_MS ? warn(`one runs out in ${days} days`) : ok(`${days} days left`);
    }),
  },
  {
    id: 'keys.identity',
    title: "the key server knows this host's identity",
    why: 'Otherwise every key is KEY_DENIED.',
    source: SETUP,
    fix: 'Make an application credential for this host’s user, and put its id and secret where the configuration says; then restart libvirt-volume-provisioner.',
    look: about(({ identity }) => {
      if (identity === undefined) throw new CannotTell('it was not asked: a certificate is not accepted');
      return 'mistake' in identity ? fail(identity.mistake) : ok(`user ${identity.userId}`);
    }),
  },
  ofFiles(
    {
      id: 'keys.files',
      title: 'files of keys are readable by root alone',
      why: 'They are encrypted for this host, and whoever is root on it reads them; nobody else needs to come to them.',
      source: SOURCE.encryption('Keys in files'),
      fix: `chmod 0700 ${KEY_FOLDER}, 0600 the files in it, and chown root all of them.`,
    },
    {
      paths: async (host) => {
        const names = ifThere(await host.list(KEY_FOLDER), KEY_FOLDER) ?? [];
        return names.filter((name) => name.endsWith(KEY_FILE_SUFFIX)).map((name) => `${KEY_FOLDER}/${name}`);
      },
      ...{ kind: 'file', modeMax: 0o600, owners: ['root'], ownerOnRepair: 'root' },
    },
  ),
  ofFiles(
    {
      id: 'keys.folder',
      title: 'only root may look into the folder of keys',
      why: 'Who may write to it can put another key into the place of one, and take keys away.',
      source: SOURCE.encryption('Keys in files'),
      fix: `chmod 0700 and chown root ${KEY_FOLDER}.`,
    },
    {
      paths: () => [KEY_FOLDER],
      ...{ kind: 'folder', modeMax: 0o700, owners: ['root'], ownerOnRepair: 'root' },
    },
  ),
];

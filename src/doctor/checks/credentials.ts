/** The keys for the store: where they lie, and what they are. Their values never leave this file. */
import { dirname, join } from 'node:path/posix';
import type { Check } from '../check.ts';
import { CannotTell, configOf, fail, ifThere, must, ok, some, SOURCE, warn } from '../check.ts';
import type { HostFacts } from '../host.ts';
import { SERVICE } from '../names.ts';
import { rightsCheck } from '../rights.ts';
import { readFields } from '../settings.ts';
import { daemonPid, shownUnit } from '../unit.ts';

const DAY_MS = 86_400_000;
/** A quarter, and some days to do it. */
const ROTATED_WITHIN_MS = 100 * DAY_MS;
const LENGTH_MIN = 32;
const FROM_GO = /^"?(MINIO_ACCESS_KEY|MINIO_ACCESS_KEY_ID|MINIO_SECRET_KEY|MINIO_SECRET_ACCESS_KEY)=/;

const ROTATE =
  'Make a service account in MinIO, write its keys into the two files, sudo lvp config reload, remove the old one.';
const SECRETS = SOURCE.guide('MinIO Credentials');

/** The usual one, and that of keys which systemd decrypts (docs/operate.md, "Encrypted keys"). */
function keyFolders(host: HostFacts): readonly string[] {
  return ['credentials', 'credentials.encrypted'].map((name) => join(dirname(host.configPath), name));
}

/** Also where the configuration cannot be read because a key file has wrong rights. */
async function keyFiles(host: HostFacts): Promise<readonly string[]> {
  const usual = keyFolders(host).flatMap((folder) =>
    ['minio-access-key', 'minio-secret-key'].map((name) => join(folder, name)),
  );
  const text = ifThere(await host.readText(host.configPath), host.configPath) ?? '';
  const settings = text.replaceAll(/^\s*#.*$/gm, '');
  const named = [...settings.matchAll(/(?:access|secret)_key_file['"]?\s*:\s*["']?(\/[^"'\s#,}]+)/g)];
  return [...new Set([...usual, ...named.map(([, path = '']) => path)])];
}

async function keysOf(host: HostFacts): Promise<{ access: string; secret: string }> {
  const { accessKey, secretKey } = (await configOf(host)).minio;
  return { access: accessKey.reveal(), secret: secretKey.reveal() };
}

async function environments(host: HostFacts): Promise<readonly string[]> {
  const unit = await shownUnit(host, 'show-daemon');
  const files = unit.all('EnvironmentFiles').map((file) => file.replace(/ \(ignore_errors=\w+\)$/, ''));
  const texts: string[] = [];
  for (const file of files.filter((path) => path !== '')) {
    const text = ifThere(await host.readText(file), file);
    if (text !== undefined) texts.push(...readFields(text).map(([word = '']) => word));
  }
  const pid = await daemonPid(host).catch(() => undefined);
  const path = `/proc/${pid ?? 0}/environ`;
  const running = pid === undefined ? '' : must(await host.readText(path), path);
  return [...unit.words('Environment'), ...texts, ...running.split('\0')];
}

export const CREDENTIAL_CHECKS: readonly Check[] = [
  rightsCheck(
    {
      id: 'credentials.folder',
      title: 'only root may look into the folders of keys',
      why: 'systemd hands the keys to the service; nobody else needs to come to them.',
      source: SOURCE.guide('File Permissions'),
      fix: 'chmod 0700 and chown root the folders credentials and credentials.encrypted beside the configuration.',
    },
    {
      paths: keyFolders,
      ...{ kind: 'folder', modeMax: 0o700, owners: ['root'], ownerOnRepair: 'root' },
    },
  ),
  rightsCheck(
    {
      id: 'credentials.files',
      title: 'files with keys are readable by their owner alone',
      why: 'Whoever reads them can read, and perhaps write, what the key may.',
      source: SOURCE.guide('File Permissions'),
      fix: 'chmod 0600, and chown root (those in credentials/) or the service (those named in the configuration); if others may have read them, change the keys too.',
    },
    // Whose they are to be depends on who reads them: systemd for the service, or the service itself.
    { paths: keyFiles, kind: 'file', modeMax: 0o600, owners: ['root', 'service'] },
  ),
  {
    id: 'credentials.not-default',
    title: 'the keys are not those that MinIO is installed with',
    why: 'minioadmin is the first thing anybody tries; the guide itself puts it into Vault.',
    source: `${SOURCE.guide('HashiCorp Vault')}, corrected`,
    fix: ROTATE,
    look: async (host) => {
      const { access, secret } = await keysOf(host);
      return access === 'minioadmin' || secret === 'minioadmin'
        ? fail("at least one key is 'minioadmin'")
        : ok('they are others');
    },
  },
  {
    id: 'credentials.length',
    title: 'the secret key is long',
    why: 'What the guide asks of tokens holds for the one secret there is: at least 32 random characters.',
    source: SOURCE.guide('API Token Authentication'),
    fix: ROTATE,
    look: async (host) => {
      const { length } = (await keysOf(host)).secret;
      return length >= LENGTH_MIN
        ? ok(`at least ${LENGTH_MIN} characters`)
        : warn(`shorter than ${LENGTH_MIN} characters`);
    },
  },
  {
    id: 'credentials.rotated',
    title: 'the keys are changed each quarter',
    why: 'A key that was copied once is of use until it is changed.',
    source: SOURCE.guide('Operational Checklist'),
    fix: ROTATE,
    look: async (host) => {
      const agesMs: number[] = [];
      for (const path of await keyFiles(host)) {
        const facts = ifThere(await host.stat(path), path);
        if (facts !== undefined) agesMs.push(host.nowMs() - facts.mtimeMs);
      }
      if (agesMs.length === 0) throw new CannotTell('the keys are not in files');
      const days = Math.floor(Math.max(...agesMs) / DAY_MS);
      return (Math.max(...agesMs) > ROTATED_WITHIN_MS ? warn : ok)(`written ${days} days ago`);
    },
  },
  {
    id: 'credentials.not-in-configuration',
    title: 'no key stands in the configuration',
    why: 'It is copied, kept in version control and shown to people; keys must not be.',
    source: SECRETS,
    fix: 'Take it out, put it into a file of mode 0600 (credentials/minio-secret-key), and change it: it has been seen.',
    look: async (host) => {
      const text = must(await host.readText(host.configPath), host.configPath);
      const named = /^\s*(access_key|secret_key|password|token)\s*:/m.test(text);
      const config = await host.config();
      const keys = config.is === 'known' ? Object.values(await keysOf(host)) : [];
      const held = keys.some((key) => key.length >= 8 && text.includes(key));
      if (!named && !held) return ok('none was found in it');
      return fail(held ? 'one of the keys in use stands in it' : 'it has a key of that name');
    },
  },
  {
    id: 'credentials.not-in-environment',
    title: 'no key stands in an environment',
    why: 'The guide recommends it, but systemctl show tells every user the unit’s, and children inherit it.',
    source: `${SECRETS}, corrected`,
    fix: `Put it into a file of mode 0600 in credentials/ and take it out of the unit: systemctl cat ${SERVICE}.`,
    look: async (host) => {
      const names = (await environments(host)).flatMap((word) => FROM_GO.exec(word)?.[1] ?? []);
      return names.length === 0 ? ok('none was found') : warn(`found: ${some([...new Set(names)])}`);
    },
  },
];

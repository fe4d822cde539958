/** Owners and modes of what is ours on the host. */
import { dirname, join } from 'node:path/posix';
import type { Check } from '../check.ts';
import { configOf, fail, ifThere, info, must, octal, ok, some, SOURCE } from '../check.ts';
import { LIBRARY, UDEV_RULE, USER } from '../names.ts';
import { rightsCheck, stateFolder } from '../rights.ts';
import { account } from '../settings.ts';

const GUIDE = SOURCE.guide('File Permissions');

/** That private nodes are for their owner alone, and nothing scans the mappings. */
const RULE_PARTS = [
  ...['ENV{DM_LV_NAME}=="lvp-fill-[0-9a-f]', 'ENV{DM_NAME}=="lvp-crypt-[0-9a-f]', 'MODE="0600"'],
  ...['ENV{DM_UDEV_DISABLE_DISK_RULES_FLAG}="1"', 'ENV{DM_UDEV_DISABLE_OTHER_RULES_FLAG}="1"'],
];

export const FILE_CHECKS: readonly Check[] = [
  rightsCheck(
    {
      id: 'files.config-folder',
      title: 'the configuration belongs to root',
      why: 'The guide gives it to the service, which could then change what it is held to; it only needs to read.',
      source: `${GUIDE}, corrected`,
      fix: `chmod 0750, chown root:${USER} the folder of the configuration.`,
    },
    {
      paths: (host) => [dirname(host.configPath)],
      ...{ kind: 'folder', modeMax: 0o750, owners: ['root'], ownerOnRepair: 'root', group: 'service' },
    },
  ),
  rightsCheck(
    {
      id: 'files.config',
      title: 'only root may write the configuration, and only the service read it',
      why: 'It says in which volume groups root makes and removes volumes; the helper refuses one that others can write.',
      source: GUIDE,
      fix: `Read it, for somebody else may have written it; then chmod 0640, chown root:${USER}.`,
    },
    {
      paths: (host) => [host.configPath],
      ...{ kind: 'file', modeMax: 0o640, owners: ['root'], group: 'service' },
    },
  ),
  rightsCheck(
    {
      id: 'files.state-folder',
      title: 'the state folder is the service’s alone',
      why: 'It holds the ledger, journals of fills and cached images.',
      source: SOURCE.guide('Database Security'),
      fix: `chmod 0700, chown ${USER} the state folder.`,
    },
    {
      paths: async (host) => [await stateFolder(host)],
      ...{ kind: 'folder', modeMax: 0o700, owners: ['service'], ownerOnRepair: 'service' },
    },
  ),
  rightsCheck(
    {
      id: 'files.ledger',
      title: 'the ledger is the service’s alone',
      why: 'It says which volumes hold what. It holds no secrets, so it is not encrypted.',
      source: SOURCE.guide('Database Security'),
      fix: 'chmod 0600; if its owner is another, see who has run the daemon by hand.',
    },
    {
      paths: async (host) => {
        const folder = await stateFolder(host);
        return ['ledger.db', 'ledger.db-wal', 'ledger.db-shm'].map((name) => join(folder, name));
      },
      ...{ kind: 'file', modeMax: 0o600, owners: ['service'] },
    },
  ),
  {
    id: 'files.control-socket',
    title: 'only root and the service’s group reach the control socket',
    why: 'lvp can have volumes made again and deleted; there is no other authentication than this group.',
    source: SOURCE.design('Rights'),
    fix: 'Restart the daemon, which makes it anew.',
    look: async (host) => {
      const path = join((await configOf(host)).runtimeDir, 'control.sock');
      const socket = must(await host.stat(path), path);
      const ids = await account(host, '/etc/passwd', USER);
      const said = `${path} ${octal(socket.mode)}, user ${socket.uid}`;
      const isOurs = socket.kind === 'socket' && socket.uid === ids?.id && (socket.mode & 0o007) === 0;
      return isOurs ? ok(said) : fail(said);
    },
  },
  {
    id: 'files.control-group',
    title: 'who may use lvp',
    why: `Members of the group ${USER} can have volumes made again and deleted, as root can.`,
    source: SOURCE.notes('2.1'),
    fix: `gpasswd -d PERSON ${USER}, for those who need not.`,
    look: async (host) => {
      const group = await account(host, '/etc/group', USER);
      const members = group?.members ?? [];
      return members.length === 0 ? ok('root alone') : info(`root, and ${some(members)}`);
    },
  },
  {
    id: 'files.program',
    title: 'the program can be changed by root alone',
    why: 'Its helper runs as root: whoever can write these files is root.',
    source: SOURCE.design('Rights'),
    fix: 'Install the package again.',
    look: async (host) => {
      const paths = [
        LIBRARY,
        ...[
          'bin',
          'bin/node',
          'src',
          'src/helper',
          'src/helper/main.ts',
          'src/main.ts',
          'hooks',
          'hooks/qemu',
          'node_modules',
        ].map((name) => join(LIBRARY, name)),
      ];
      const wrong: string[] = [];
      for (const path of paths) {
        const facts = must(await host.stat(path), path);
        if (facts.uid !== 0 || facts.kind === 'link' || (facts.mode & 0o022) !== 0)
          wrong.push(`${path} (${facts.uid}, ${octal(facts.mode)})`);
      }
      return wrong.length === 0 ? ok(LIBRARY) : fail(`others can write ${some(wrong)}`);
    },
  },
  {
    id: 'files.udev-rule',
    title: 'udev gives the service the mappings of encrypted volumes being filled, and nothing else',
    why: 'A rule for a whole volume group would give it the disks of all running guests; one for all private volumes, the encrypted ones beside their mappings; and what is written to them is not for this host to look into.',
    source: SOURCE.design('The life of a volume'),
    fix: `Take away what stands in its place in /etc/udev/rules.d, or install the package again; then udevadm control --reload.`,
    look: async (host) => {
      const override = ifThere(await host.readText(`/etc/udev/rules.d/${UDEV_RULE}`), UDEV_RULE);
      if (override !== undefined) return fail(`/etc/udev/rules.d/${UDEV_RULE} stands in its place`);
      const rule = must(await host.readText(`/usr/lib/udev/rules.d/${UDEV_RULE}`), UDEV_RULE);
      // The one of the mappings.
      const owners = rule.match(/OWNER[:+]?=/g)?.length;
      const isOurs = owners === 1 && RULE_PARTS.every((part) => rule.includes(part));
      return isOurs ? ok('only lvp-crypt-…') : fail('the rule is not ours');
    },
  },
];

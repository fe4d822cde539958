/** `lvp key grant`: let hosts read a key. */
import type { Command } from 'commander';
import type { KeyReference } from '../../core/key/key-reference.ts';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import { EXIT } from '../program/exit-codes.ts';
import type { AddVerb } from '../program/verb.ts';
import { common, contextOf } from '../program/verb.ts';
import type { Change } from './change.ts';
import { changeOf, changeText } from './change.ts';
import { withKeyOption } from './create.ts';
import type { WithKey } from './file-keys.ts';
import { FileKeyFolder } from './file-keys.ts';
import { keyFromInput, referenceOf, usage, userIds } from './given-key.ts';
import type { ServerOptions } from './servers.ts';
import { openSecrets, withServer } from './servers.ts';

interface GrantOptions extends ServerOptions {
  readonly stdin?: boolean;
  readonly withKey: WithKey;
}

export const addGrant: AddVerb = (key, finish) => {
  const command = withServer(
    key
      .command('grant')
      .argument('<key>', 'barbican:UUID, or file:NAME for this host')
      .argument('[user-ids...]', 'hosts, by the id of their user in Keystone')
      .description('let hosts read a key')
      .option('--stdin', 'for file:NAME: the key, from standard input, for this host to have it, too'),
  ).addOption(withKeyOption());
  common(
    command,
    [
      'lvp key grant barbican:5a7a2d9e-95d3-4a3c-bb6e-6e1c2b2f8f60 5ecb18f341894e94baca9e8c7b6a824a',
      'sudo systemd-creds decrypt --name=lvp-key-web1-vda \\\n' +
        '      /var/lib/libvirt-volume-provisioner-keys/web1-vda.cred - | ssh host2 sudo lvp key grant file:web1-vda --stdin',
    ],
    'alone',
  ).action(async (given: string, users: readonly string[], options: GrantOptions, self: Command) => {
    const { output } = contextOf(self, finish);
    const reference = referenceOf(given);
    const change = await (reference.provider === 'file'
      ? toThisHost(reference, users, options)
      : toUsers(reference, users, options));
    output.result(change, () => changeText(change));
    finish(EXIT.ok);
  });
};

async function toUsers(
  reference: KeyReference,
  given: readonly string[],
  options: GrantOptions,
): Promise<Change> {
  if (given.length === 0)
    throw usage('Who is to be granted the key is not said.', 'Name users by their ids.');
  if (options.stdin === true) throw usage('--stdin is for keys of files.');
  const users = userIds(given);
  const secrets = await openSecrets(options);
  const before = await secrets.readersOf(reference);
  const added = users.filter((user) => !before.users.includes(user));
  if (added.length === 0) return changeOf(reference, before, before);
  // Whether the project's members may read it, too, stays as it is: they may be those who manage it.
  await secrets.setReaders(reference, { ...before, users: [...before.users, ...added] });
  return changeOf(reference, before, await secrets.readersOf(reference));
}

async function toThisHost(
  reference: KeyReference,
  users: readonly string[],
  { stdin = false, withKey }: GrantOptions,
): Promise<Change> {
  if (users.length > 0 || !stdin) {
    throw usage(
      `${formatKeyReference(reference)} can be granted to this host alone, and by the key itself.`,
      'Call it on the host that is to have it, with --stdin: see lvp key grant --help',
    );
  }
  const bytes = keyFromInput();
  try {
    await new FileKeyFolder().add(reference.id, bytes, withKey);
  } finally {
    bytes.fill(0);
  }
  return { key: formatKeyReference(reference), granted: ['this host'], revoked: [], readers: ['this host'] };
}

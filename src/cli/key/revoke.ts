/** `lvp key revoke`: let hosts not read a key any more. */
import type { Command } from 'commander';
import { ProvisionError } from '../../core/errors.ts';
import type { KeyReference } from '../../core/key/key-reference.ts';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import { EXIT } from '../program/exit-codes.ts';
import type { AddVerb } from '../program/verb.ts';
import { common, contextOf } from '../program/verb.ts';
import { terminal } from '../terminal/terminal.ts';
import type { Change } from './change.ts';
import { changeOf, changeText } from './change.ts';
import { FileKeyFolder } from './file-keys.ts';
import { referenceOf, usage, userIds } from './given-key.ts';
import type { ServerOptions } from './servers.ts';
import { openSecrets, withServer } from './servers.ts';

interface RevokeOptions extends ServerOptions {
  readonly all?: boolean;
  readonly confirm?: string;
}

export const addRevokeKey: AddVerb = (key, finish) => {
  const command = withServer(
    key
      .command('revoke')
      .argument('<key>', 'barbican:UUID, or file:NAME for this host')
      .argument('[user-ids...]', 'hosts, by the id of their user in Keystone')
      .description('let hosts not read a key any more; running guests go on, and do not start again')
      .option('--all', 'from all hosts, and from the members of its project')
      .option('--confirm <key>', 'for file:NAME: without being asked, that this host is to lose it'),
  );
  common(
    command,
    [
      'lvp key revoke barbican:5a7a2d9e-95d3-4a3c-bb6e-6e1c2b2f8f60 5ecb18f341894e94baca9e8c7b6a824a',
      'lvp key revoke barbican:5a7a2d9e-95d3-4a3c-bb6e-6e1c2b2f8f60 --all',
      'sudo lvp key revoke file:web1-vda',
    ],
    'alone',
  ).action(async (given: string, users: readonly string[], options: RevokeOptions, self: Command) => {
    const { output } = contextOf(self, finish);
    const reference = referenceOf(given);
    const change = await (reference.provider === 'file'
      ? fromThisHost(reference, users, options)
      : fromUsers(reference, users, options));
    output.result(change, () => changeText(change));
    finish(EXIT.ok);
  });
};

async function fromUsers(
  reference: KeyReference,
  given: readonly string[],
  options: RevokeOptions,
): Promise<Change> {
  const { all = false } = options;
  if (all === given.length > 0) {
    throw usage(
      'From whom the key is to be revoked has to be said, once.',
      'Name users by their ids, or all of them with --all.',
    );
  }
  const users = userIds(given);
  const secrets = await openSecrets(options);
  const before = await secrets.readersOf(reference);
  const kept = all ? [] : before.users.filter((user) => !users.includes(user));
  // A host may be a member of the project: only a private key is what its list says.
  await secrets.setReaders(reference, { users: kept, projectAccess: false });
  return changeOf(reference, before, await secrets.readersOf(reference));
}

async function fromThisHost(
  reference: KeyReference,
  users: readonly string[],
  options: RevokeOptions,
): Promise<Change> {
  const key = formatKeyReference(reference);
  if (users.length > 0 || options.all === true) {
    throw usage(`${key} can be revoked from this host alone.`, `Call it on the host that is to lose it.`);
  }
  const folder = new FileKeyFolder();
  if (!folder.has(reference.id)) throw notHere(key);
  const typed = options.confirm ?? (await ask(key));
  if (typed.trim() !== key) {
    throw usage(`Nothing was done: the key is ${key}, and "${typed.trim()}" was said.`);
  }
  if (!folder.remove(reference.id)) throw notHere(key);
  return { key, granted: [], revoked: ['this host'], readers: [] };
}

async function ask(key: string): Promise<string> {
  const asker = terminal();
  if (asker === undefined) {
    throw usage(
      'Nothing was done: it is asked for on a terminal, and this is none.',
      `For scripts: --confirm ${key}`,
    );
  }
  const question = `This host loses the key. What is encrypted with it is lost for ever, unless another host has it. Type ${key}:`;
  return (await asker.text(question)) ?? '';
}

function notHere(key: string): ProvisionError {
  return new ProvisionError({
    code: 'KEY_NOT_FOUND',
    message: `There is no key ${key} on this host.`,
    hint: 'See: sudo lvp key list file',
  });
}

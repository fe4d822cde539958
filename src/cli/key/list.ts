/** `lvp key list` and `lvp key show`: which keys there are, and who may read them. */
import type { Command } from 'commander';
import { Argument } from 'commander';
import type { KeySecrets, KnownKey } from '../../adapters/key/secrets.ts';
import { ProvisionError } from '../../core/errors.ts';
import type { KeyProviderName } from '../../core/key/key-reference.ts';
import { formatKeyReference, KEY_PROVIDERS } from '../../core/key/key-reference.ts';
import { EXIT } from '../program/exit-codes.ts';
import type { AddVerb } from '../program/verb.ts';
import { common, contextOf } from '../program/verb.ts';
import type { Look } from '../terminal/output.ts';
import { table } from '../terminal/table.ts';
import { FileKeyFolder } from './file-keys.ts';
import { referenceOf, usage } from './given-key.ts';
import { isCallerNamed } from './openstack.ts';
import type { ServerOptions } from './servers.ts';
import { openSecrets, withServer } from './servers.ts';

export interface ShownKey {
  readonly key: string;
  readonly name?: string | undefined;
  /** ISO 8601, in UTC. */
  readonly created: string;
  /** Ids of Keystone's users; absent where the caller may not know. */
  readonly readers?: readonly string[];
  /** Whether every member of the key's project may read it; absent as readers are. */
  readonly projectAccess?: boolean;
}

export const addListOfKeys: AddVerb = (key, finish) => {
  const command = withServer(
    key
      .command('list')
      .alias('ls')
      .addArgument(
        new Argument('[where]', 'the key server, or files of this host; left out, both').choices(
          KEY_PROVIDERS,
        ),
      )
      .description('show keys, and who may read them'),
  );
  common(command, ['lvp key list', 'sudo lvp key list file', 'lvp key list barbican --json'], 'alone').action(
    async (where: KeyProviderName | undefined, options: ServerOptions, self: Command) => {
      const { output } = contextOf(self, finish);
      const keys = await keysIn(where, options);
      output.result({ keys }, () => textOf(keys, output.look));
      finish(EXIT.ok);
    },
  );
};

export const addShowKey: AddVerb = (key, finish) => {
  const command = withServer(
    key
      .command('show')
      .argument('<key>', 'barbican:UUID, or file:NAME on this host')
      .description('show one key, and who may read it'),
  );
  common(command, ['lvp key show barbican:5a7a2d9e-95d3-4a3c-bb6e-6e1c2b2f8f60'], 'alone').action(
    async (given: string, options: ServerOptions, self: Command) => {
      const { output } = contextOf(self, finish);
      const reference = referenceOf(given);
      const found =
        reference.provider === 'file'
          ? onHost().find(({ key: name }) => name === formatKeyReference(reference))
          : await inServer(reference, options);
      if (found === undefined) {
        throw new ProvisionError({ code: 'KEY_NOT_FOUND', message: `There is no ${given} on this host.` });
      }
      output.result(found, () => textOf([found], output.look));
      finish(EXIT.ok);
    },
  );
};

async function inServer(reference: KnownKey['reference'], options: ServerOptions): Promise<ShownKey> {
  const secrets = await openSecrets(options);
  return withReaders(secrets, await secrets.show(reference));
}

/** Without a word of which: what can be looked at. */
async function keysIn(
  where: KeyProviderName | undefined,
  options: ServerOptions,
): Promise<readonly ShownKey[]> {
  const isNamed = isCallerNamed(process.env);
  const isRoot = process.getuid?.() === 0;
  if (where === undefined && !isNamed && !isRoot) {
    throw usage(
      'Keys of files are shown to root, and those of the key server to whom OS_USERNAME or OS_CLOUD names.',
      'See: lvp key list --help',
    );
  }
  const files = where === 'file' || (where === undefined && isRoot) ? onHost() : [];
  if (where === 'file' || (where === undefined && !isNamed)) return files;
  const secrets = await openSecrets(options);
  const known = await secrets.list();
  const shown: ShownKey[] = [];
  // One after the other: there may be many, and nobody waits for them but the caller.
  for (const one of known) shown.push(await withReaders(secrets, one));
  return [...shown, ...files];
}

async function withReaders(secrets: KeySecrets, { reference, name, created }: KnownKey): Promise<ShownKey> {
  const plain = { key: formatKeyReference(reference), name, created: asUtc(created) };
  try {
    const { users: readers, projectAccess } = await secrets.readersOf(reference);
    return { ...plain, readers, projectAccess };
  } catch (error) {
    // Somebody else's private key; or it has gone meanwhile.
    const isOthers = error instanceof ProvisionError && ['KEY_DENIED', 'KEY_NOT_FOUND'].includes(error.code);
    if (isOthers) return plain;
    throw error;
  }
}

/** Barbican leaves out which zone it is. */
function asUtc(text: string): string {
  return /[Z+]/.test(text) ? text : `${text}Z`;
}

function onHost(): readonly ShownKey[] {
  return new FileKeyFolder().list().map(({ name, madeAtMs }) => ({
    key: formatKeyReference({ provider: 'file', id: name }),
    created: new Date(madeAtMs).toISOString(),
    readers: ['this host'],
  }));
}

function textOf(keys: readonly ShownKey[], { width }: Look): string {
  if (keys.length === 0) return 'There is no key.';
  const rows = keys.map(({ key, name = '', created, readers, projectAccess = false }) => [
    ...[key, name, created.slice(0, 16).replace('T', ' ')],
    readers === undefined
      ? 'not shown to you'
      : [...readers, ...(projectAccess ? ['its project'] : [])].join(', ') || 'nobody',
  ]);
  return table([['KEY', 'NAME', 'CREATED', 'MAY BE READ BY'], ...rows], { width, whole: [0, 3] });
}

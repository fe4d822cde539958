/** `lvp key create`: a new key, in the key server or on this host. */
import type { Command } from 'commander';
import { Option } from 'commander';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import { EXIT } from '../program/exit-codes.ts';
import type { AddVerb } from '../program/verb.ts';
import { common, contextOf } from '../program/verb.ts';
import { isPlainName } from '../terminal/plain-name.ts';
import type { WithKey } from './file-keys.ts';
import { FileKeyFolder } from './file-keys.ts';
import { referenceOf, usage, userIds } from './given-key.ts';
import { randomKey } from './random-key.ts';
import type { ServerOptions } from './servers.ts';
import { openSecrets, withServer } from './servers.ts';

const NAME_CHARS_MAX = 255;

interface CreateOptions extends ServerOptions {
  readonly name?: string;
  readonly for?: readonly string[];
  readonly withKey: WithKey;
}

export const addCreateKey: AddVerb = (key, finish) => {
  const command = withServer(
    key
      .command('create')
      .argument('[key]', 'file:NAME for a key on this host; left out, one is made in the key server')
      .description('make a key for one volume and print its name, for the annotation')
      .option('--name <text>', 'what people call it in the key server, such as the volume it is for')
      .option('--for <user-id...>', 'hosts that may read it, by the id of their user in Keystone'),
  ).addOption(withKeyOption());
  common(
    command,
    [
      'lvp key create --name web1-vda --for 5ecb18f341894e94baca9e8c7b6a824a',
      'sudo lvp key create file:web1-vda',
    ],
    'alone',
  ).action(async (given: string | undefined, options: CreateOptions, self: Command) => {
    const { output } = contextOf(self, finish);
    const made = await (given === undefined ? inServer(options) : onHost(given, options));
    output.result(made, () => made.key);
    output.note(nextOf(made));
    finish(EXIT.ok);
  });
};

export function withKeyOption(): Option {
  return new Option(
    '--with-key <which>',
    'what encrypts a key on this host: auto (its TPM2 if it has one, and the key of its systemd) or host (that alone)',
  )
    .choices(['auto', 'host'])
    .default('auto');
}

interface Made {
  readonly key: string;
  readonly name?: string;
  readonly readers?: readonly string[];
}

async function inServer(options: CreateOptions): Promise<Made> {
  const { name = 'volume key', for: hosts = [] } = options;
  if (name === '' || name.length > NAME_CHARS_MAX || !isPlainName(name)) {
    throw usage('--name is 1 to 255 characters, and does not begin with a dash.');
  }
  const readers = userIds(hosts);
  const secrets = await openSecrets(options);
  const bytes = randomKey();
  try {
    const reference = await secrets.create(name, bytes, readers);
    return { key: formatKeyReference(reference), name, readers };
  } finally {
    bytes.fill(0);
  }
}

async function onHost(given: string, options: CreateOptions): Promise<Made> {
  const reference = referenceOf(given);
  if (reference.provider !== 'file') {
    throw usage(
      'The key server itself says what a new key is called.',
      'For a key in it: lvp key create --name TEXT',
    );
  }
  if (options.for !== undefined || options.name !== undefined) {
    throw usage('--for and --name are for keys in the key server: a key of a file is for this host alone.');
  }
  const bytes = randomKey();
  try {
    await new FileKeyFolder().add(reference.id, bytes, options.withKey);
  } finally {
    bytes.fill(0);
  }
  return { key: formatKeyReference(reference) };
}

function nextOf({ key, readers }: Made): string {
  const into = `Put it into the annotation of one disk: key="${key}".`;
  if (readers === undefined) {
    return `${into} It is on this host alone, and a backup without it is of no use: docs/encryption.md says how another host is given it.`;
  }
  if (readers.length === 0)
    return `${into} No host may read it yet: lvp key grant ${key} ID-OF-A-HOST'S-USER`;
  return `${into} It may be read by ${readers.join(', ')}.`;
}

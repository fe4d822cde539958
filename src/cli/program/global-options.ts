/** Options that hold for every verb: how it prints, and which daemon it asks. */
import type { Command } from 'commander';
import { Help, Option } from 'commander';
import { ProvisionError } from '../../core/errors.ts';
import { CONTROL_SOCKET } from '../../core/protocol/control-protocol.ts';
import { ControlTransport } from '../transport/control-transport.ts';
import type { CredentialFiles } from '../transport/credentials.ts';
import { readCredentials, serverUrl } from '../transport/credentials.ts';
import { HttpsTransport } from '../transport/https-transport.ts';
import type { Transport } from '../transport/transport.ts';

/**
 * `anywhere`: whatever daemon is asked for. `host`: the daemon of this host alone. `alone`: files of this host, without
 * a daemon. `nowhere`: it only prints.
 */
export type Place = 'anywhere' | 'host' | 'alone' | 'nowhere';

/** As commander names what the options say. */
export interface GlobalOptions extends CredentialFiles {
  readonly json?: boolean;
  readonly socket?: string;
  readonly server?: string;
}

/** What says the same where the option is not given. */
export const VARIABLES = {
  socket: 'LVP_SOCKET',
  server: 'LVP_SERVER',
  serverCa: 'LVP_SERVER_CA',
  tokenFile: 'LVP_TOKEN_FILE',
  clientCert: 'LVP_CLIENT_CERT',
  clientKey: 'LVP_CLIENT_KEY',
} as const satisfies Partial<Record<keyof GlobalOptions, string>>;

const PLACES = new WeakMap<Command, Place>();

export function placeAt(command: Command, place: Place): void {
  PLACES.set(command, place);
}

/** Taken before the verb and after it. */
export function withGlobalOptions(program: Command): Command {
  const asked = (name: keyof typeof VARIABLES, flags: string, text: string) =>
    new Option(flags, `${text} (or ${VARIABLES[name]})`);
  return program
    .option('--json', 'print JSON, for programs')
    .addOption(
      asked('socket', '--socket <path>', `the control socket of this host's provisioner, ${CONTROL_SOCKET}`),
    )
    .addOption(
      asked(
        'server',
        '--server <url>',
        'ask the HTTP API of another host instead, as https://HOST:PORT',
      ).conflicts('socket'),
    )
    .addOption(
      asked(
        'serverCa',
        '--server-ca <file>',
        "authority of its certificate, if it is not one of the system's",
      ),
    )
    .addOption(asked('tokenFile', '--token-file <file>', 'file with the token to call it with'))
    .addOption(asked('clientCert', '--client-cert <file>', 'or a client certificate to call it with'))
    .addOption(asked('clientKey', '--client-key <file>', 'and its key'))
    .configureHelp({
      showGlobalOptions: true,
      visibleGlobalOptions: (command) => globalOptionsOf(command),
    })
    .hook('preAction', (_program, verb) => {
      refuseElsewhere(verb);
    });
}

export function isGlobal(option: Option): boolean {
  return option.attributeName() === 'json' || option.attributeName() in VARIABLES;
}

/** Those that mean something to the verb. */
export function globalOptionsOf(command: Command): Option[] {
  const place = PLACES.get(command);
  if (place === undefined) return [];
  const names = { anywhere: undefined, host: ['json', 'socket'], alone: ['json'], nowhere: ['json'] }[place];
  return Object.assign(new Help(), { showGlobalOptions: true })
    .visibleGlobalOptions(command)
    .filter((option) => isGlobal(option) && (names?.includes(option.attributeName()) ?? true));
}

/** The way to the daemon that options and environment name; USAGE if there is something wrong with them. */
export function transportOf(options: GlobalOptions, deadlineMs?: number): Transport {
  const { server, socket, ...files } = withVariables(options);
  if (server === undefined) return new ControlTransport(socket ?? CONTROL_SOCKET, deadlineMs);
  return new HttpsTransport(serverUrl(server), readCredentials(files), deadlineMs);
}

/** Who names a socket means this host, whatever the environment says. */
function withVariables(options: GlobalOptions): GlobalOptions {
  const found: Partial<Record<keyof typeof VARIABLES, string>> = {};
  for (const [name, variable] of Object.entries(VARIABLES) as [keyof typeof VARIABLES, string][]) {
    const value = options[name] ?? process.env[variable];
    if (value !== undefined && value !== '') found[name] = value;
  }
  if (options.socket !== undefined) delete found.server;
  return found;
}

/** What is done on one host must not be taken for done on another. */
function refuseElsewhere(verb: Command): void {
  const place = PLACES.get(verb) ?? 'nowhere';
  if (place === 'anywhere' || place === 'nowhere') return;
  const options = verb.optsWithGlobals<GlobalOptions>();
  if (withVariables(options).server === undefined) return;
  const isSaid = options.server !== undefined;
  throw new ProvisionError({
    code: 'USAGE',
    message: `lvp ${nameOf(verb)} works on the host where it is called, and not over --server. Nothing was done.`,
    hint: isSaid
      ? 'Call it there, without --server.'
      : `Call it there. The server is in ${VARIABLES.server}; for this host: env -u ${VARIABLES.server} lvp ${nameOf(verb)} …`,
  });
}

/** `image write` */
function nameOf(command: Command): string {
  const { parent } = command;
  const isOfProgram = parent?.parent === null;
  return parent === null || isOfProgram ? command.name() : `${nameOf(parent)} ${command.name()}`;
}

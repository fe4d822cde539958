/**
 * The man pages: lvp(1) from the verbs, options and texts of which `lvp --help` is made, and the daemon's from
 * libvirt-volume-provisioner.8.in. Run by itself, `manual.ts lvp|libvirt-volume-provisioner VERSION` prints one.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Argument, Command, Option } from 'commander';
import { EXIT_MEANINGS } from '../src/cli/program/exit-codes.ts';
import { isGlobal, VARIABLES } from '../src/cli/program/global-options.ts';
import { buildProgram } from '../src/cli/program/program.ts';
import { examplesOf } from '../src/cli/program/verb.ts';
import { CONTROL_GROUP, CONTROL_SOCKET } from '../src/core/protocol/control-protocol.ts';
import { CONFIG_PATH } from '../src/core/settings/config-path.ts';
import { bold, chapter, escaped, example, italic, item, text } from './roff.ts';
import { sourceDate } from './sbom.ts';

const NAME = 'libvirt-volume-provisioner';

const ABOUT_THE_DAEMON =
  `Most verbs ask the daemon, ${NAME}(8), over its control socket. Root may use it, and the members of the ` +
  `group ${CONTROL_GROUP}. With --server they ask the HTTP API of another host; what is for the host itself, such as ` +
  'setup, doctor or backup, does not go that way, and says so. The verbs token, config check, setup, image write and ' +
  'completion do without a daemon.';

/** What stands at the foot of a page. */
export interface Edition {
  readonly version: string;
  readonly date: Date;
}

interface Verb {
  /** `lvp image ls` */
  readonly name: string;
  readonly command: Command;
}

/** The page of the command line, in section 1. */
export function lvpPage(edition: Edition): string {
  const program = buildProgram(() => undefined);
  const verbs = verbsOf(program, program.name());
  const shared = program.options.filter(isGlobal);
  const introduction = program.description();
  const summary = (introduction.split('\n')[0] ?? '').replace(/\.$/, '');
  return page([
    `.\\" Made by packaging/manual.ts from the verbs and options of lvp.`,
    heading('LVP 1', edition, 'User Commands'),
    // Between long names, spaces that fill the line would tear the text apart.
    '.ad l',
    ...chapter('NAME', [`lvp \\- ${text(summary.charAt(0).toLowerCase() + summary.slice(1))}`]),
    ...chapter('SYNOPSIS', verbs.map(usage).join('\n.br\n').split('\n')),
    ...chapter('DESCRIPTION', paragraphs(`${introduction}\n\n${ABOUT_THE_DAEMON}`)),
    ...chapter(
      'VERBS',
      verbs.flatMap((verb) => sectionOf(verb, shared)),
    ),
    ...chapter('OPTIONS', [
      'Verbs take these, before them or after:',
      ...shared.flatMap((option) => optionItem(program, option)),
      '.PP',
      'lvp by itself takes:',
      ...ownOptions(program, shared).flatMap((option) => optionItem(program, option)),
    ]),
    ...chapter(
      'EXIT STATUS',
      EXIT_MEANINGS.flatMap(([code, meaning]) => item(bold(String(code)), meaning)),
    ),
    ...environment(),
    ...files(),
    ...chapter('SEE ALSO', [`${bold(NAME)}(8),`, `${bold('virsh')}(1)`]),
  ]);
}

/** The page of the daemon, in section 8. */
export function daemonPage({ version, date }: Edition): string {
  return readFileSync(join(import.meta.dirname, `${NAME}.8.in`), 'utf8')
    .replaceAll('@VERSION@', escaped(version))
    .replaceAll('@DATE@', day(date));
}

function page(lines: readonly string[]): string {
  return `${lines.join('\n')}\n`;
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}

function heading(title: string, { version, date }: Edition, section: string): string {
  return `.TH ${title} "${day(date)}" "${escaped(`${NAME} ${version}`)}" "${section}"`;
}

/** Every verb that does something: not `image` but `image ls`. The order is that of --help. */
function verbsOf(command: Command, name: string): readonly Verb[] {
  if (command.commands.length === 0) return [{ name, command }];
  return visibleCommands(command).flatMap((below) => verbsOf(below, `${name} ${below.name()}`));
}

function visibleCommands(command: Command): readonly Command[] {
  const known = new Set(command.commands);
  return command
    .createHelp()
    .visibleCommands(command)
    .filter((below) => known.has(below));
}

function visibleOptions(command: Command): readonly Option[] {
  return command.createHelp().visibleOptions(command);
}

/** What verbs have in common is said once. */
function ownOptions(command: Command, shared: readonly Option[]): readonly Option[] {
  return visibleOptions(command).filter((option) => !shared.some(({ flags }) => flags === option.flags));
}

function usage({ name, command }: Verb): string {
  const places = command.registeredArguments.map(placeTerm);
  return [bold(name), ...places, `[${italic('OPTION')} ...]`].join(' ');
}

/** As the introduction writes them: VM, DISK, IMAGE. */
function placeOf(argument: Argument): string {
  return `${argument.name().toUpperCase()}${argument.variadic ? '...' : ''}`;
}

/** In brackets if it may be left out. */
function placeTerm(argument: Argument): string {
  const place = italic(placeOf(argument));
  return argument.required ? place : `[${place}]`;
}

function sectionOf({ name, command }: Verb, shared: readonly Option[]): readonly string[] {
  const help = command.createHelp();
  const description = command.description();
  const names = [name, ...command.aliases().map((alias) => name.replace(/[^ ]+$/, alias))].join(', ');
  const places = command.registeredArguments
    .map((argument) => (argument.required ? placeOf(argument) : `[${placeOf(argument)}]`))
    .join(' ');
  return [
    `.SS "${escaped(`${names} ${places}`.trimEnd())}"`,
    text(`${description.charAt(0).toUpperCase()}${description.slice(1)}.`),
    ...command.registeredArguments.flatMap((argument) =>
      item(placeTerm(argument), help.argumentDescription(argument)),
    ),
    ...ownOptions(command, shared).flatMap((option) => optionItem(command, option)),
    ...example(examplesOf(command)),
  ];
}

function optionItem(command: Command, option: Option): readonly string[] {
  // -w, --watch and --format <format>: flags as they are, placeholders like those of arguments.
  const term = option.flags.replaceAll(/<([^>]+)>|[^<]+/g, (part: string, place?: string) =>
    place === undefined ? bold(part) : italic(place.toUpperCase()),
  );
  return item(term, command.createHelp().optionDescription(option));
}

function paragraphs(words: string): readonly string[] {
  return words.split('\n\n').flatMap((paragraph, at) => [...(at === 0 ? [] : ['.PP']), text(paragraph)]);
}

function environment(): readonly string[] {
  return chapter('ENVIRONMENT', [
    ...Object.entries(VARIABLES).flatMap(([name, variable]) =>
      item(
        bold(variable),
        `what --${name.replaceAll(/[A-Z]/g, (big) => `-${big.toLowerCase()}`)} says, where it is not given`,
      ),
    ),
    ...item(bold('NO_COLOR'), 'nothing is coloured if this is set and not empty'),
    ...item(bold('TERM'), 'dumb: nothing is coloured, and progress comes in lines'),
  ]);
}

function files(): readonly string[] {
  return chapter('FILES', [
    ...item(italic(CONTROL_SOCKET), 'where the daemon answers'),
    ...item(italic(CONFIG_PATH), 'the configuration, which lvp setup writes and lvp config check checks'),
    ...item(italic(CONFIG_PATH.replace(/[^/]+$/, 'credentials/')), "MinIO's keys, for root alone"),
    ...item(
      italic(`/usr/share/doc/${NAME}/operate.md`),
      'states of volumes, problems with their remedies, and all else that is good to know when running it',
    ),
  ]);
}

if (import.meta.main) {
  const [name, version] = process.argv.slice(2);
  const pages: Readonly<Record<string, (edition: Edition) => string>> = { lvp: lvpPage, [NAME]: daemonPage };
  const made = pages[name ?? ''];
  if (made === undefined || version === undefined) throw new Error(`manual.ts lvp|${NAME} VERSION`);
  process.stdout.write(made({ version, date: sourceDate() }));
}

/** What may stand where the cursor is, by the verbs and options of the program. Pure; nothing is asked for here. */
import type { Argument, Command, Option } from 'commander';
import type { GlobalOptions } from '../program/global-options.ts';
import { globalOptionsOf, isGlobal } from '../program/global-options.ts';

export interface Candidate {
  readonly word: string;
  /** For shells that show it beside the word. */
  readonly about: string;
}

/** The place of the word that is being typed. */
export type Place =
  | { readonly kind: 'words'; readonly candidates: readonly Candidate[] }
  | { readonly kind: 'image' | 'job' | 'file' | 'unknown' }
  /** `isAny`: also those that nobody has annotated yet. */
  | { readonly kind: 'vm'; readonly isAny: boolean }
  | { readonly kind: 'disk'; readonly vm: string; readonly isAny: boolean };

export interface Wanted {
  readonly place: Place;
  /** What has been typed of it. */
  readonly typed: string;
  /** What stands before it in the same word: `--format=` */
  readonly lead: string;
  /** Which daemon the line names, by the options for that. */
  readonly asked: GlobalOptions;
}

/** The words before the one that is being typed, understood. */
interface Line {
  command: Command;
  readonly arguments: string[];
  readonly given: Set<Option>;
  /** Values of global options by their names. */
  readonly asked: Record<string, string>;
  /** The option whose value comes next. */
  pending: Option | undefined;
  /** After `--` nothing is an option. */
  isOver: boolean;
  /** `lvp help`: a verb comes next. */
  isHelp: boolean;
  /** Nobody can say what comes after a verb that there is not. */
  isLost: boolean;
}

const UNKNOWN: Place = { kind: 'unknown' };

/** `words`: all after `lvp` up to the cursor; the last one is being typed and may be empty. */
export function wantedAt(program: Command, words: readonly string[]): Wanted {
  const line: Line = {
    ...{ command: program, arguments: [], given: new Set<Option>() },
    ...{ asked: {}, pending: undefined, isOver: false, isHelp: false, isLost: false },
  };
  for (const word of words.slice(0, -1)) read(line, word);
  const typed = words.at(-1) ?? '';
  const { asked } = line;
  if (line.isLost) return { place: UNKNOWN, typed, lead: '', asked };
  if (line.pending !== undefined && !(line.pending.variadic && typed.startsWith('-')))
    return { place: valueOf(line, line.pending), typed, lead: '', asked };
  if (!line.isOver && typed.startsWith('-')) return { ...optionAt(line, typed), asked };
  return { place: argumentAt(line, typed), typed, lead: '', asked };
}

function read(line: Line, word: string): void {
  const { pending } = line;
  const isOption = !line.isOver && word.startsWith('-') && word !== '-';
  if (pending !== undefined && !(pending.variadic && isOption)) {
    remember(line, pending, word);
    // It takes all words up to the next option.
    if (!pending.variadic) line.pending = undefined;
    return;
  }
  line.pending = undefined;
  if (isOption) readOption(line, word);
  else if (line.isHelp || line.command.commands.length === 0) line.arguments.push(word);
  else readVerb(line, word);
}

function readOption(line: Line, word: string): void {
  if (word === '--') {
    line.isOver = true;
    return;
  }
  const [name = '', value] = dividedAtEquals(word);
  const option = optionNamed(line.command, name);
  if (option === undefined) return;
  line.given.add(option);
  if (value === undefined) line.pending = option.required ? option : undefined;
  else remember(line, option, value);
}

function remember(line: Line, option: Option, value: string): void {
  if (isGlobal(option)) line.asked[option.attributeName()] = value;
}

function readVerb(line: Line, word: string): void {
  const verb = line.command.commands.find((one) => one.name() === word || one.aliases().includes(word));
  if (verb !== undefined) line.command = verb;
  else if (verbsOf(line.command).some((one) => one.name() === word)) line.isHelp = true;
  else line.isLost = true;
}

/** `--format=raw` is both. */
function dividedAtEquals(word: string): readonly string[] {
  const at = word.startsWith('--') ? word.indexOf('=') : -1;
  return at < 0 ? [word] : [word.slice(0, at), word.slice(at + 1)];
}

function optionAt(line: Line, typed: string): Omit<Wanted, 'asked'> {
  const [name = '', value] = dividedAtEquals(typed);
  if (value === undefined)
    return { place: { kind: 'words', candidates: options(line, typed) }, typed, lead: '' };
  const option = optionNamed(line.command, name);
  return { place: option === undefined ? UNKNOWN : valueOf(line, option), typed: value, lead: `${name}=` };
}

/** Those that are not there yet, as one writes them: the short ones only for who has begun with one dash. */
function options({ command, given }: Line, typed: string): readonly Candidate[] {
  return optionsOf(command)
    .filter((option) => option.variadic || !given.has(option))
    .flatMap(({ short, long, description }) => {
      const names = typed === '' || typed.startsWith('--') ? [long ?? short] : [short, long];
      return names.flatMap((word) => (word === undefined ? [] : { word, about: description }));
    });
}

function argumentAt(line: Line, typed: string): Place {
  const { command, isHelp, isOver } = line;
  if (isHelp || command.commands.length > 0) {
    return line.arguments.length > 0 ? UNKNOWN : { kind: 'words', candidates: verbs(command, isHelp) };
  }
  const all = command.registeredArguments;
  const last = all.at(-1);
  const argument = all[line.arguments.length] ?? (last?.variadic === true ? last : undefined);
  if (argument !== undefined) return placeOf(line, argument.name(), argument.argChoices);
  // Nothing else can come.
  return typed === '' && !isOver ? { kind: 'words', candidates: options(line, typed) } : UNKNOWN;
}

function verbs(command: Command, isHelp: boolean): readonly Candidate[] {
  return verbsOf(command)
    .filter((verb) => !isHelp || command.commands.includes(verb))
    .map((verb) => ({ word: verb.name(), about: verb.description() }));
}

function valueOf(line: Line, { flags, argChoices }: Option): Place {
  return placeOf(line, /<([\w/-]+)/.exec(flags)?.[1] ?? '', argChoices);
}

/** By the name that it has under --help: `<vm>`, `<file>`. What confirms a loss is typed by hand. */
function placeOf(line: Line, name: string, choices: Argument['argChoices']): Place {
  if (choices !== undefined)
    return { kind: 'words', candidates: choices.map((word) => ({ word, about: '' })) };
  switch (name) {
    case 'vm':
      return { kind: 'vm', isAny: isForAny(line) };
    case 'image':
    case 'job':
      return { kind: name };
    case 'disk': {
      const at = line.command.registeredArguments.findIndex((argument) => argument.name() === 'vm');
      return { kind: 'disk', vm: line.arguments[at] ?? '', isAny: isForAny(line) };
    }
    case 'file':
    case 'path':
    case 'device':
      return { kind: 'file' };
    default:
      return UNKNOWN;
  }
}

function isForAny({ command }: Line): boolean {
  return command.name() === 'annotate';
}

/** With those of all verbs, and with -h and help, which commander adds by itself. */
function optionsOf(command: Command): readonly Option[] {
  const own = command.createHelp().visibleOptions(command);
  const help = own.filter(({ long }) => long === '--help');
  return [...own.filter(({ long }) => long !== '--help'), ...globalOptionsOf(command), ...help];
}

function optionNamed(command: Command, name: string): Option | undefined {
  const isNamed = ({ short, long }: Option) => short === name || long === name;
  return optionsOf(command).find(isNamed) ?? rootOf(command).options.filter(isGlobal).find(isNamed);
}

function rootOf(command: Command): Command {
  return command.parent === null ? command : rootOf(command.parent);
}

function verbsOf(command: Command): readonly Command[] {
  return command.createHelp().visibleCommands(command);
}

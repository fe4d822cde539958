/** `lvp token`: who may call the HTTP API with a token. Only hashes are kept; a token is shown once. */
import type { Command } from 'commander';
import { ProvisionError } from '../core/errors.ts';
import { TOKENS_FILE } from '../core/settings/http-settings.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';
import { readTokenLines, replaceTokenLines } from './terminal/token-lines.ts';

interface FileOption {
  readonly file: string;
}

/** The hash costs memory and the library; a `lvp list` shall not load it. */
const tokenFile = () => import('../adapters/http-api/token-file.ts');

export const addToken: AddVerb = (program, finish) => {
  const token = program.command('token').description('tokens for the HTTP API');
  addCreate(token, finish);
  addListOfTokens(token, finish);
  addRevoke(token, finish);
};

function withFile(command: Command): Command {
  return command.option('--file <path>', 'where the hashes are kept: http.tokens_file', TOKENS_FILE);
}

const addCreate: AddVerb = (token, finish) => {
  const command = withFile(
    token
      .command('create')
      .argument('<name>', 'letters, digits, _ and -; the name under http.identities')
      .description('make a token and print it, once: only its hash is kept'),
  );
  common(
    command,
    ['sudo lvp token create ci', 'sudo lvp token create ci | ssh build1 "umask 077; cat > lvp-token"'],
    'alone',
  ).action(async (name: string, { file }: FileOption, self: Command) => {
    const { output } = contextOf(self, finish);
    const { hashToken, isTokenName, makeToken, tokenLine } = await tokenFile();
    if (!isTokenName(name)) {
      throw usage(`"${name}" is no name for a token.`, 'Use 1 to 64 letters, digits, _ and -.');
    }
    const lines = readTokenLines(file);
    if (lines.some((line) => nameOf(line) === name)) {
      throw usage(`${file} has a token ${name} already.`, `Revoke it first: lvp token revoke ${name}`);
    }
    const made = makeToken(name);
    replaceTokenLines(file, [...lines, tokenLine(name, await hashToken(made))]);
    output.result({ name, token: made, file }, () => made);
    output.note(
      `Keep it: it is not shown again. What it may do stands under http.identities (token: ${name}); a running daemon takes it over by itself.`,
    );
    finish(EXIT.ok);
  });
};

const addListOfTokens: AddVerb = (token, finish) => {
  const command = withFile(token.command('list').alias('ls').description('show the names of all tokens'));
  common(command, ['sudo lvp token list'], 'alone').action((options: FileOption, self: Command) => {
    const { output } = contextOf(self, finish);
    const names = readTokenLines(options.file).flatMap((line) => nameOf(line) ?? []);
    output.result(
      names.map((name) => ({ name })),
      () => (names.length === 0 ? `There is no token in ${options.file}.` : names.join('\n')),
    );
    finish(EXIT.ok);
  });
};

const addRevoke: AddVerb = (token, finish) => {
  const command = withFile(
    token.command('revoke').argument('<name>', 'its name').description('end a token; it is refused at once'),
  );
  common(command, ['sudo lvp token revoke ci'], 'alone').action(
    (name: string, { file }: FileOption, self: Command) => {
      const { output } = contextOf(self, finish);
      const lines = readTokenLines(file);
      const kept = lines.filter((line) => nameOf(line) !== name);
      if (kept.length === lines.length) {
        throw usage(`${file} has no token ${name}.`, 'See: lvp token list');
      }
      replaceTokenLines(file, kept);
      output.result({ name, file }, () => `${name} is revoked.`);
      finish(EXIT.ok);
    },
  );
};

/** Undefined for a comment. */
function nameOf(line: string): string | undefined {
  return /^([^#:]+):/.exec(line)?.[1];
}

function usage(message: string, hint: string): ProvisionError {
  return new ProvisionError({ code: 'USAGE', message, hint });
}

/** What `lvp setup` has to know: from its options, or asked for on the terminal. */
import { readFileSync } from 'node:fs';
import { ProvisionError } from '../../core/errors.ts';
import { terminal } from '../terminal/terminal.ts';

export interface SetupOptions {
  readonly endpoint?: string;
  readonly accessKeyFile?: string;
  readonly secretKeyFile?: string;
  readonly caFile?: string;
  readonly bucket?: string;
  readonly volumeGroup?: readonly string[];
  readonly policyFile?: string;
}

export interface Answers {
  readonly endpoint: string;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly caFile: string | undefined;
  /** Annotations may name no other; it is also where the credentials are tried. */
  readonly bucket: string;
  readonly volumeGroups: readonly string[];
  /** A list of rules, if it is right; undefined: none is written. */
  readonly policy: unknown;
}

/** Asks one question; `secret`: what is typed is not shown. Undefined at the end of the input. */
export type Ask = (question: string, secret: boolean) => Promise<string | undefined>;

interface Question {
  readonly option: string;
  readonly text: string;
  readonly secret?: boolean;
  /** Whether no answer is one. */
  readonly isOptional?: boolean;
}

const QUESTIONS = {
  endpoint: { option: '--endpoint <url>', text: 'Address of MinIO, such as https://minio.example.net:9000' },
  accessKey: { option: '--access-key-file <file>', text: 'Access key' },
  secretKey: { option: '--secret-key-file <file>', text: 'Secret key (not shown)', secret: true },
  bucket: { option: '--bucket <name>', text: 'Bucket with the images' },
  volumeGroups: { option: '--volume-group <vg>', text: 'Volume groups in which volumes may be made' },
  policyFile: {
    option: '--policy-file <file>',
    text: 'File with rules of who gets what (empty: every domain may have what is in the bucket)',
    isOptional: true,
  },
} as const satisfies Record<string, Question>;

/** Without `ask`, everything has to be among the options: one USAGE names all that is not. */
export async function gatherAnswers(options: SetupOptions, ask: Ask | undefined): Promise<Answers> {
  const given = {
    endpoint: options.endpoint,
    accessKey: keyFrom('--access-key-file', options.accessKeyFile),
    secretKey: keyFrom('--secret-key-file', options.secretKeyFile),
    bucket: options.bucket,
    volumeGroups: options.volumeGroup?.join(' '),
    policyFile: options.policyFile,
  };
  const missing = (Object.keys(QUESTIONS) as (keyof typeof QUESTIONS)[]).filter(
    (name) => given[name] === undefined,
  );
  const needed = missing.filter((name) => !isOptional(QUESTIONS[name]));
  if (ask === undefined && needed.length > 0) {
    throw new ProvisionError({
      code: 'USAGE',
      message: `There is no terminal to ask on, and these options are missing: ${needed.map((name) => QUESTIONS[name].option).join(', ')}.`,
      hint: 'See: lvp setup --help',
    });
  }
  // Who has given all that is needed is not asked for more.
  if (ask !== undefined && needed.length > 0)
    for (const name of missing) given[name] = await answerTo(QUESTIONS[name], ask);
  const {
    endpoint = '',
    accessKey = '',
    secretKey = '',
    bucket = '',
    volumeGroups = '',
    policyFile = '',
  } = given;
  return {
    ...{ endpoint, accessKey, secretKey, bucket, caFile: options.caFile },
    volumeGroups: volumeGroups.split(/[\s,]+/).filter((name) => name !== ''),
    policy: policyFile === '' ? undefined : await policyFrom(policyFile),
  };
}

function isOptional(question: Question): boolean {
  return question.isOptional === true;
}

async function answerTo(question: Question, ask: Ask): Promise<string> {
  const { text, secret = false } = question;
  const typed = (await ask(text, secret))?.trim() ?? '';
  if (typed !== '' || isOptional(question)) return typed;
  throw new ProvisionError({
    code: 'USAGE',
    message: `"${text}" needs an answer. Nothing was changed.`,
  });
}

/** Keys come from files, for everybody can read the command line of a process. */
function keyFrom(option: string, path: string | undefined): string | undefined {
  return path === undefined ? undefined : textOf(option, path).trim();
}

function textOf(option: string, path: string): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    const why = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new ProvisionError({ code: 'USAGE', message: `${option}: ${path} cannot be read: ${why}.` });
  }
}

/** The rules of a file, which may also be the part of a configuration that they are in. Judged when they are staged. */
async function policyFrom(path: string): Promise<unknown> {
  const option = '--policy-file';
  const text = textOf(option, path);
  const { parse } = await import('yaml');
  try {
    const found: unknown = parse(text);
    return typeof found === 'object' && found !== null && 'policy' in found ? found.policy : found;
  } catch (error) {
    const why = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    throw new ProvisionError({ code: 'USAGE', message: `${option}: ${path} is no YAML: ${why}` });
  }
}

/** Undefined where there is no terminal. */
export function terminalAsk(): Ask | undefined {
  const asker = terminal();
  if (asker === undefined) return undefined;
  return (question, secret) => (secret ? asker.secret(question) : asker.text(question));
}

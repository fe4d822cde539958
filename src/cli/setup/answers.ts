/** What `lvp setup` has to know: from its options, or asked for on the terminal. */
import { readFileSync } from 'node:fs';
import { ProvisionError } from '../../core/errors.ts';
import { terminal } from '../terminal.ts';

export interface SetupOptions {
  readonly endpoint?: string;
  readonly accessKeyFile?: string;
  readonly secretKeyFile?: string;
  readonly caFile?: string;
  readonly bucket?: string;
  readonly volumeGroup?: readonly string[];
}

export interface Answers {
  readonly endpoint: string;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly caFile: string | undefined;
  /** Annotations may name no other; it is also where the credentials are tried. */
  readonly bucket: string;
  readonly volumeGroups: readonly string[];
}

/** Asks one question; `secret`: what is typed is not shown. Undefined at the end of the input. */
export type Ask = (question: string, secret: boolean) => Promise<string | undefined>;

interface Question {
  readonly option: string;
  readonly text: string;
  readonly secret?: boolean;
}

const QUESTIONS = {
  endpoint: { option: '--endpoint <url>', text: 'Address of MinIO, such as https://minio.example.net:9000' },
  accessKey: { option: '--access-key-file <file>', text: 'Access key' },
  secretKey: { option: '--secret-key-file <file>', text: 'Secret key (not shown)', secret: true },
  bucket: { option: '--bucket <name>', text: 'Bucket with the images' },
  volumeGroups: { option: '--volume-group <vg>', text: 'Volume groups in which volumes may be made' },
} as const satisfies Record<string, Question>;

/** Without `ask`, everything has to be among the options: one USAGE names all that is not. */
export async function gatherAnswers(options: SetupOptions, ask: Ask | undefined): Promise<Answers> {
  const given = {
    endpoint: options.endpoint,
    accessKey: keyFrom('--access-key-file', options.accessKeyFile),
    secretKey: keyFrom('--secret-key-file', options.secretKeyFile),
    bucket: options.bucket,
    volumeGroups: options.volumeGroup?.join(' '),
  };
  const missing = (Object.keys(QUESTIONS) as (keyof typeof QUESTIONS)[]).filter(
    (name) => given[name] === undefined,
  );
  if (ask === undefined && missing.length > 0) {
    throw new ProvisionError({
      code: 'USAGE',
      message: `There is no terminal to ask on, and these options are missing: ${missing.map((name) => QUESTIONS[name].option).join(', ')}.`,
      hint: 'See: lvp setup --help',
    });
  }
  for (const name of missing) given[name] = await answerTo(QUESTIONS[name], ask);
  const { endpoint = '', accessKey = '', secretKey = '', bucket = '', volumeGroups = '' } = given;
  return {
    ...{ endpoint, accessKey, secretKey, bucket, caFile: options.caFile },
    volumeGroups: volumeGroups.split(/[\s,]+/).filter((name) => name !== ''),
  };
}

async function answerTo({ text, secret = false }: Question, ask: Ask | undefined): Promise<string> {
  const typed = (await ask?.(text, secret))?.trim() ?? '';
  if (typed !== '') return typed;
  throw new ProvisionError({
    code: 'USAGE',
    message: `"${text}" needs an answer. Nothing was changed.`,
  });
}

/** Keys come from files, for everybody can read the command line of a process. */
function keyFrom(option: string, path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8').trim();
  } catch (error) {
    const why = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new ProvisionError({ code: 'USAGE', message: `${option}: ${path} cannot be read: ${why}.` });
  }
}

/** Undefined where there is no terminal. */
export function terminalAsk(): Ask | undefined {
  const asker = terminal();
  if (asker === undefined) return undefined;
  return (question, secret) => (secret ? asker.secret(question) : asker.text(question));
}

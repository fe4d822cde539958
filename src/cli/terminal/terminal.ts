/** Questions on a terminal. They go to standard error, since standard output is the verb's result. */

/** One of several; `value` is what it stands for. */
export interface Choice<T> {
  readonly value: T;
  readonly label: string;
  /** Shown beside it. */
  readonly about: string;
}

/** Each answers undefined at the end of the input, and when somebody gives up (Escape, Ctrl-C). */
export interface Asker {
  text(question: string): Promise<string | undefined>;
  /** What is typed is not shown. */
  secret(question: string): Promise<string | undefined>;
  /** What is typed narrows the choices. */
  choose<T>(question: string, choices: readonly Choice<T>[]): Promise<T | undefined>;
  confirm(question: string): Promise<boolean | undefined>;
}

const SHOWN_MAX = 10;
const END_OF_INPUT = '\u0004';

/** What is typed before somebody is asked comes with the line ends of the terminal's own editing: they are Enter, too. */
function takeLineEnds(stdin: NodeJS.ReadStream): void {
  stdin.on('keypress', (_text: unknown, key: { readonly name?: string }) => {
    if (key.name === 'enter') stdin.emit('keypress', '\r', { name: 'return', sequence: '\r' });
  });
}

/** Undefined where there is none to ask on. */
export function terminal(): Asker | undefined {
  const { stdin, stderr, env } = process;
  if (!stdin.isTTY || !stderr.isTTY || env['TERM'] === 'dumb') return undefined;
  takeLineEnds(stdin);
  const ended = new AbortController();
  stdin.once('end', () => {
    ended.abort();
  });
  const common = { signal: ended.signal, input: stdin, output: stderr, withGuide: false };
  return {
    text: async (message) => given(await (await prompts()).text({ ...common, message })),
    secret: async (message) => given(await (await prompts()).password({ ...common, message, mask: ' ' })),
    choose: async <T>(message: string, choices: readonly Choice<T>[]) => {
      const { autocomplete } = await prompts();
      // By number: what the library takes for a value need not be a text.
      const options = choices.map(({ label, about }, value) => ({ value, label, hint: about }));
      const chosen = given(await autocomplete({ ...common, message, options, maxItems: SHOWN_MAX }));
      return chosen === undefined ? undefined : choices[chosen]?.value;
    },
    confirm: async (message) =>
      given(await (await prompts()).confirm({ ...common, message, initialValue: false })),
  };
}

/** Loaded when somebody is asked: most verbs ask nobody. */
async function prompts() {
  const library = await import('@clack/prompts');
  library.updateSettings({ aliases: { [END_OF_INPUT]: 'cancel' } });
  return library;
}

/** The library has a symbol for an answer that was not given. */
function given<T>(answer: T): Exclude<T, symbol> | undefined {
  return typeof answer === 'symbol' ? undefined : (answer as Exclude<T, symbol>);
}

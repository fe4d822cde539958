/** Text in the language of man pages: man(7), groff_char(7). */

/** What roff would take for an instruction, or print as a mark that is not the one that was typed. */
const ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\(rs',
  '-': '\\-',
  "'": '\\(aq',
  '"': '\\(dq',
  '`': '\\(ga',
  '^': '\\(ha',
  '~': '\\(ti',
};

/** The text as it stands there, wherever in a line: every option and command can be copied from the page. */
export function escaped(text: string): string {
  const ascii = text.replace(/[\\\-'"`^~]/g, (mark) => ESCAPES[mark] ?? mark);
  return ascii.replace(
    /[^\n\x20-\x7e]/gu,
    (mark) => `\\[u${(mark.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`,
  );
}

/** Lines of text. One that begins with a dot is no instruction; paths, options and names are not divided. */
export function text(words: string): string {
  return escaped(words)
    .replace(/^\./gm, '\\&.')
    .replace(/(?<!\S)(?=\S*(?:\/|\\-)\S)/g, '\\%');
}

export function bold(words: string): string {
  return `\\fB${escaped(words)}\\fR`;
}

export function italic(words: string): string {
  return `\\fI${escaped(words)}\\fR`;
}

/** A chapter, its name in capitals. */
export function chapter(name: string, lines: readonly string[]): readonly string[] {
  return [`.SH ${escaped(name)}`, ...lines];
}

/** `term` is roff, `about` text: the one stands out, the other is indented below it. */
export function item(term: string, about: string): readonly string[] {
  return ['.TP', term, text(about)];
}

/** Command lines as they are typed; one may go over several lines. */
export function example(commands: readonly string[]): readonly string[] {
  return [
    '.PP',
    '.RS 4',
    '.EX',
    ...commands.flatMap((command) => escaped(`$ ${command}`).split('\n')),
    '.EE',
    '.RE',
  ];
}

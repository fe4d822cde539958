/** HTML in which everything is escaped unless it was made here: nobody has to remember to do so. */

/** Markup. Comes from html`` alone. */
export class Html {
  readonly #text: string;

  private constructor(text: string) {
    this.#text = text;
  }

  static join(strings: readonly string[], parts: readonly Part[]): Html {
    return new Html(strings.map((string, index) => string + textOf(parts[index])).join(''));
  }

  toString(): string {
    return this.#text;
  }
}

/** What may stand in a template; undefined is nothing. */
export type Part = Html | string | number | undefined | readonly Part[];

/** Parts stand between tags or inside of attributes in double quotes, nowhere else: html`<b title="${a}">${b}</b>`. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return Html.join(strings, parts);
}

function textOf(part: Part): string {
  if (part === undefined) return '';
  if (part instanceof Html) return part.toString();
  if (Array.isArray(part)) return part.map(textOf).join('');
  return escaped(String(part));
}

const ENTITIES: Readonly<Record<string, string>> = {
  ...{ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' },
};

function escaped(text: string): string {
  // Control characters have no place in HTML, and are a sign of somebody who tries something.
  // eslint-disable-next-line no-control-regex -- it is they that are looked for
  const visible = text.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd');
  return visible.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}

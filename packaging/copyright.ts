/**
 * The licences of everything inside, from the packages' own files.
 * https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
 */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Program, RuntimePackage } from './runtime-packages.ts';
import { CHECKOUT, NODE_FOLDER, program, runtimePackages } from './runtime-packages.ts';
import { sourceDate } from './sbom.ts';

const COMMON = '/usr/share/common-licenses';

/** For packages that only name their licence. */
const STANDARD_TEXTS: Readonly<Record<string, string>> = {
  'Apache-2.0': `On Debian systems, the text of this license stands in ${COMMON}/Apache-2.0.`,
  MIT: `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`,
};

/** Throws for a package of whose licence there is no text. */
export function copyright(about: Program, packages: readonly RuntimePackage[], date: Date): string {
  const stanzas = [
    `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: ${about.name}
Comment: Folders are those of the source; what of node_modules is in the package lies in /usr/lib/${about.name}.`,
    `Files: *
Copyright: ${date.getUTCFullYear()} the authors of ${about.name}
License: ${about.license}
${indented(standardText(about.license, about.name))}`,
    ...packages.map(stanza),
  ];
  return `${stanzas.join('\n\n')}\n`;
}

function stanza(each: RuntimePackage): string {
  const { folder, license } = each;
  const text = licenceFileOf(folder);
  const holders = text === undefined ? [] : holdersIn(text);
  // Apache's text is in Debian's base and names no holder.
  const shown = text === undefined || license === 'Apache-2.0' ? standardText(license, folder) : text;
  // Node's file holds, after its own licence, those of all the parts it is made of.
  return `Files: ${folder}/*
Copyright: ${(holders.length > 0 ? holders : [`the authors of ${each.name}`]).join('\n  ')}
License: ${folder === NODE_FOLDER ? 'Node.js' : license}
${indented(shown)}`;
}

function licenceFileOf(folder: string): string | undefined {
  const path = join(CHECKOUT, folder);
  const names = readdirSync(path).filter((name) => /^(licen[cs]e|copying)(\.|$)/i.test(name));
  if (names.length === 0) return undefined;
  return names
    .sort()
    .map((name) => readFileSync(join(path, name), 'utf8').trim())
    .join('\n\n');
}

/** Lines that name somebody, of the text's beginning: further down stand the licences of parts. */
function holdersIn(text: string): string[] {
  return text
    .split(/\r?\n/)
    .slice(0, 40)
    .map((line) => line.replace(/^[\s*#>-]+|[\s*]+$/g, ''))
    .filter((line) => /^copyright\b/i.test(line) && !/\b(notice|holders?|owner)\b/i.test(line))
    .map((line) => line.replace(/^copyright\b[\s:]*/i, '').replace(/^(\(c\)|©)\s*/i, ''))
    .filter((line) => line !== '');
}

function standardText(license: string, whose: string): string {
  const text = STANDARD_TEXTS[license];
  if (text === undefined) throw new Error(`${whose}: there is no text of its licence ${license}`);
  return text;
}

/** As a field that goes on: every line begins with a space, and an empty one is a dot. */
function indented(text: string): string {
  return text
    .split(/\r?\n/)
    .map((line) => (line.trim() === '' ? ' .' : ` ${line.trimEnd()}`))
    .join('\n');
}

if (import.meta.main) process.stdout.write(copyright(program(), runtimePackages(), sourceDate()));

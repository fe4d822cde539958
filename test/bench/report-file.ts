/** docs/performance.md, which two programs write: each its own part, and the other's stays as it is. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format, resolveConfig } from 'prettier';

const REPORT = join(import.meta.dirname, '../../docs/performance.md');
/** Between the part of `npm run bench`, which comes first, and that of `npm run load`. */
const BORDER = '\n<!-- What follows is written by npm run load, what stands above by npm run bench. -->\n';

export type Part = 'bench' | 'load';

/** Formats the part and returns it; writes it into the report if asked to. */
export async function writePart(which: Part, text: string, isWritten: boolean): Promise<string> {
  const style = await resolveConfig(REPORT);
  const formatted = await format(text, { ...style, parser: 'markdown' });
  if (isWritten) writeFileSync(REPORT, withPart(readFileSync(REPORT, 'utf8'), which, formatted));
  return formatted;
}

export function withPart(report: string, which: Part, part: string): string {
  const [bench = '', load = ''] = report.split(BORDER);
  const [first, second] = which === 'bench' ? [part, load] : [bench, part];
  return second === '' ? first : `${first.trimEnd()}\n${BORDER}\n${second.trim()}\n`;
}

/** Which release of the program this is. */
import { readFileSync } from 'node:fs';

/** As package.json has it, which is installed beside the program. */
export function programVersion(): string {
  const about = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(about) as { version: string }).version;
}

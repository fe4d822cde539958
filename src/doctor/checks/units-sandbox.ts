/** What the service manager takes away from the daemon and the helper, as its units are loaded. */
import type { Check } from '../check.ts';
import { fail, ok, warn } from '../check.ts';
import type { CommandName } from '../commands.ts';
import { HELPER, SERVICE } from '../names.ts';
import { shownUnit } from '../unit.ts';
import type { Wanted } from './units-wanted.ts';
import { BOTH, DAEMON, GUIDE } from './units-wanted.ts';
import { HELPER_ONLY } from './units-wanted-helper.ts';

function toCheck(unitName: 'daemon' | 'helper', command: CommandName) {
  const unit = unitName === 'daemon' ? SERVICE : HELPER;
  return (wanted: Wanted): Check => ({
    id: `units.${unitName}.${wanted.name}`,
    title: `${unitName}: ${wanted.line}`,
    why: wanted.why,
    source: wanted.source ?? GUIDE,
    fix: `Take away the drop-in that changes it (systemctl cat ${unit}), then systemctl daemon-reload and restart it.`,
    look: async (host) => {
      const shown = await shownUnit(host, command);
      const said = wanted.properties.map((name) => `${name}=${shortened(shown.get(name))}`).join(' ');
      if (wanted.isSo(shown)) return ok(said);
      return wanted.severity === 'warn' ? warn(said) : fail(said);
    },
  });
}

function shortened(value: string): string {
  return value.length > 100 ? `${value.slice(0, 99)}…` : value;
}

export const SANDBOX_CHECKS: readonly Check[] = [
  ...[...DAEMON, ...BOTH].map(toCheck('daemon', 'show-daemon')),
  ...[...HELPER_ONLY, ...BOTH].map(toCheck('helper', 'show-helper')),
];

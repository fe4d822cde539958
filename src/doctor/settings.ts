/** Readers for the forms in which a host keeps its settings. All are lenient: they only look. */
import type { HostFacts } from './host.ts';
import { ifThere, must } from './check.ts';

/** `systemctl show`: a property may be said several times. One map for each unit. */
export function readShown(text: string): readonly Shown[] {
  return text
    .split(/\n\s*\n/)
    .filter((block) => block.trim() !== '')
    .map((block) => new Shown(block));
}

/** The properties of one unit. */
export class Shown {
  readonly #values = new Map<string, string[]>();

  constructor(block: string) {
    for (const line of block.split('\n')) {
      const at = line.indexOf('=');
      if (at < 1) continue;
      const name = line.slice(0, at);
      this.#values.set(name, [...(this.#values.get(name) ?? []), line.slice(at + 1).trim()]);
    }
  }

  /** Empty if it was not said. */
  get(name: string): string {
    return this.all(name).join(' ');
  }

  all(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  words(name: string): readonly string[] {
    return this.get(name)
      .split(/\s+/)
      .filter((word) => word !== '');
  }

  /** `Mon 2026-11-30 11:07:58.123456 UTC`, as --timestamp=us+utc has it; undefined for never. */
  timeMs(name: string): number | undefined {
    const [, day, time] = /(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?) UTC/.exec(this.get(name)) ?? [];
    return day === undefined || time === undefined ? undefined : Date.parse(`${day}T${time}Z`);
  }
}

/** libvirt's own configuration files: `key = "value"`, the last one counts. */
export async function libvirtSettings(host: HostFacts, file: string): Promise<ReadonlyMap<string, string>> {
  const path = `/etc/libvirt/${file}`;
  return readAssignments(ifThere(await host.readText(path), path) ?? '');
}

/** `key = value` or `key=value`, with or without quotes; comments and all else is left out. The last one counts. */
export function readAssignments(text: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, key, value] = /^\s*([A-Za-z_]\w*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) found.set(key, value.replace(/^"(.*)"$/, '$1'));
  }
  return found;
}

/** Lines that are neither empty nor comments, split into fields. */
export function readFields(text: string): readonly (readonly string[])[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(/\s+/));
}

export interface Account {
  readonly name: string;
  readonly id: number;
  readonly members: readonly string[];
}

/** A user of /etc/passwd or a group of /etc/group; undefined if there is none of that name. */
export async function account(
  host: HostFacts,
  file: '/etc/passwd' | '/etc/group',
  name: string,
): Promise<Account | undefined> {
  const line = must(await host.readText(file), file)
    .split('\n')
    .find((entry) => entry.startsWith(`${name}:`));
  if (line === undefined) return undefined;
  const [, , id = '', members = ''] = line.split(':');
  return { name, id: Number(id), members: members.split(',').filter((member) => member !== '') };
}

/** The man pages: all of lvp is in its page, and roff takes nothing in either of them for something else. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { daemonPage, lvpPage } from '../../packaging/manual.ts';
import { escaped, text } from '../../packaging/roff.ts';
import { EXIT_MEANINGS } from '../../src/cli/program/exit-codes.ts';
import { isGlobal, VARIABLES } from '../../src/cli/program/global-options.ts';
import { buildProgram } from '../../src/cli/program/program.ts';
import { examplesOf } from '../../src/cli/program/verb.ts';
import { CONFIG_PATH } from '../../src/core/settings/config-path.ts';

const EDITION = { version: '1.2.3', date: new Date('2026-11-22T23:59:59Z') };
const lvp = lvpPage(EDITION);
const daemon = daemonPage(EDITION);

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

/** What a reader sees of roff, roughly: without fonts and instructions. */
function shown(roff: string): string {
  return roff
    .replaceAll(/\\f[BIR]|\\%|\\&/g, '')
    .replaceAll(/^\.[A-Z]+ ?/gm, '')
    .replaceAll('\\-', '-')
    .replaceAll('\\(aq', "'")
    .replaceAll('\\(dq', '"')
    .replaceAll('\\(ha', '^')
    .replaceAll('\\[u2026]', '…')
    .replaceAll('\\(rs', '\\');
}

/** The chapter of a verb. */
function sectionOf(name: string): string {
  const [, section = ''] = lvp.split(
    new RegExp(`^\\.SS "${escaped(name).replaceAll('\\', '\\\\')}(?=[ ,"])`, 'm').exec(lvp)?.[0] ?? '\0',
  );
  return shown(section.split(/^\.S[HS] /m)[0] ?? '');
}

function verbsBelow(command: Command, name: string): readonly (readonly [string, Command])[] {
  if (command.commands.length === 0) return [[name, command]];
  return command.commands.flatMap((below) => verbsBelow(below, `${name} ${below.name()}`));
}

const program = buildProgram(() => undefined);
// What is hidden has no name under --help.
const verbs = verbsBelow(program, 'lvp').filter(([name]) => {
  const [, first = ''] = name.split(' ');
  return program.helpInformation().includes(`\n  ${first}`);
});
const shownPage = shown(lvp);

describe('lvp(1)', () => {
  it.each(verbs)('has %s with its options, arguments and examples', (name, command) => {
    const section = sectionOf(name);
    expect(section).toContain(command.description().slice(1));
    for (const argument of command.registeredArguments) {
      expect(section).toContain(argument.name().toUpperCase());
      expect(section).toContain(argument.description);
    }
    for (const { flags, description, argChoices = [] } of command.options) {
      const where = section;
      expect(where).toContain(
        `\n${flags.replaceAll(/<([^>]+)>/g, (_, place: string) => place.toUpperCase())}\n`,
      );
      expect(where).toContain(description);
      for (const choice of argChoices) expect(where).toContain(`"${choice}"`);
    }
    for (const example of examplesOf(command)) expect(section).toContain(`\n$ ${example}\n`);
  });

  it('has the options that hold for every verb', () => {
    const shared = program.options.filter(isGlobal);
    expect(shared).toHaveLength(7);
    for (const { flags, description } of shared)
      expect(shownPage).toContain(
        `\n${flags.replace(/<([^>]+)>/, (_, place: string) => place.toUpperCase())}\n${description}\n`,
      );
  });

  it('has the exit codes, the environment, version and date', () => {
    for (const [code, meaning] of EXIT_MEANINGS) expect(shownPage).toContain(`\n${code}\n${meaning}\n`);
    for (const name of ['-V, --version', ...Object.values(VARIABLES), 'NO_COLOR', CONFIG_PATH])
      expect(shownPage).toContain(name);
    expect(lvp).toContain('.TH LVP 1 "2026-11-22" "libvirt\\-volume\\-provisioner 1.2.3"');
  });
});

describe('libvirt-volume-provisioner(8)', () => {
  it('names the options of the program, and its version and date', () => {
    const usage = /const USAGE = `([^`]+)`/.exec(read('src/main.ts'))?.[1] ?? '';
    const options = [...usage.matchAll(/^ {2}(--\S+)/gm)].map(([, option = '']) => option);
    expect(options).toHaveLength(3);
    for (const option of options) expect(shown(daemon)).toContain(option);
    expect(daemon).toContain('"2026-11-22" "libvirt\\-volume\\-provisioner 1.2.3"');
    expect(daemon).not.toMatch(/@[A-Z]+@/);
  });

  it('names the folders that the unit gives to the daemon, and the units that there are', () => {
    const unit = read('systemd/libvirt-volume-provisioner.service');
    const [, status = ''] = /^RestartPreventExitStatus=(\d+)$/m.exec(unit) ?? [];
    const [, credentials = ''] = /^LoadCredential=secret:(.+)$/m.exec(unit) ?? [];
    for (const named of [
      ...[status, `${credentials}/`, CONFIG_PATH, '/run/libvirt-volume-provisioner/'],
      ...['/var/lib/libvirt-volume-provisioner/', '/etc/libvirt/hooks/qemu.d/50-libvirt-volume-provisioner'],
      ...['.service', '-helper.service', '-helper.socket'].map((end) => `libvirt-volume-provisioner${end}`),
    ])
      expect(shown(daemon)).toContain(named);
  });
});

describe.each([
  ['lvp(1)', lvp],
  ['libvirt-volume-provisioner(8)', daemon],
])('the roff of %s', (_name, page) => {
  it('has no instruction but those of man(7)', () => {
    const known = /^\.(?:\\"|(?:TH|SH|SS|TP|TQ|PP|RS|RE|EX|EE|ad|br|B|I|BR|RI|IR)\b)/;
    const lines = page.split('\n').filter((line) => /^[.']/.test(line));
    expect(lines.length).toBeGreaterThan(20);
    expect(lines.filter((line) => !known.test(line))).toEqual([]);
  });

  it('has no escape but those it needs, and ends each font', () => {
    const rest = page
      .replaceAll(/^\.\\".*$/gm, '')
      .replaceAll(/\\(?:f[BIR]|-|&|%|\((?:rs|aq|dq|ga|ha|ti)|\[u[0-9A-F]{4,5}\])/g, '');
    expect(rest).not.toContain('\\');
    expect(page).toMatch(/^[\n\x20-\x7e]+$/);
    for (const line of page.split('\n').filter((one) => one.includes('\\f')))
      expect(line).toMatch(/^[^]*\\fR[^\\]*$/);
  });

  // A hyphen is printed as one, and cannot be copied into a command line.
  it('has no bare hyphen in an option or a path', () => {
    const prose = page.replaceAll(/^\.(?:TH|\\").*$/gm, '');
    expect(prose).not.toMatch(/(?:^|[ [(])-|[^\\]--|\/\S*[^\\\s]-/m);
  });

  it('opens and ends its examples and indentations', () => {
    const count = (macro: string) => page.split('\n').filter((line) => line.split(' ')[0] === macro).length;
    expect([count('.RS'), count('.EX')]).toEqual([count('.RE'), count('.EE')]);
  });
});

describe('text for roff', () => {
  it.each([
    ['.img and .raw\n.xz', '\\&.img and .raw\n\\&.xz'],
    ['\'quoted\' "twice" `so`', '\\(aqquoted\\(aq \\(dqtwice\\(dq \\(gaso\\(ga'],
    ['a\\b ^ ~', 'a\\(rsb \\(ha \\(ti'],
    ['--dry-run, half … 😀', '\\%\\-\\-dry\\-run, half \\[u2026] \\[u1F600]'],
    ['is in /etc/x', 'is in \\%/etc/x'],
    ['.a/b', '\\%\\&.a/b'],
  ])('%j', (plain, roff) => {
    expect(text(plain)).toBe(roff);
  });
});

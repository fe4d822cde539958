/** The doctor's report as text. Pure: what is coloured is for the caller. */
import { styleText } from 'node:util';
import type { Finding, Report, Severity } from '../../doctor/finding.ts';
import { groupOf } from '../../doctor/finding.ts';

const STYLE: Readonly<Record<Severity, 'green' | 'red' | 'yellow' | 'cyan' | 'gray'>> = {
  ok: 'green',
  info: 'cyan',
  unknown: 'gray',
  warn: 'yellow',
  fail: 'red',
};
const WIDTH = Math.max(...Object.keys(STYLE).map((severity) => severity.length));

/** One line a check, in groups; what was wrong again below, with why and how to fix it; and a line of numbers. */
export function reportText({ findings, counts, repairs }: Report, colour: boolean): string {
  const groups = [...new Set(findings.map(groupOf))];
  const blocks = [
    ...groups.map((group) =>
      [
        group,
        ...findings.filter((finding) => groupOf(finding) === group).map((finding) => line(finding, colour)),
      ].join('\n'),
    ),
    ...findings.filter(({ severity }) => severity === 'fail').map((finding) => details(finding, colour)),
    ...findings.filter(({ severity }) => severity === 'warn').map((finding) => details(finding, colour)),
    ...(repairs.length === 0
      ? []
      : [
          [
            'repairs',
            ...repairs.map(
              ({ done, what, ids }) => `  ${done ? 'done' : 'not done'}: ${what} (${ids.join(', ')})`,
            ),
          ].join('\n'),
        ]),
  ];
  const fixable = findings.filter((finding) => finding.fixable).length;
  const hint = fixable === 0 ? '' : `; ${fixable} can be repaired with --fix`;
  const numbers = `${findings.length} checks: ${counts.fail} failed, ${counts.warn} warnings, ${counts.unknown} unknown, ${counts.info} to know, ${counts.ok} ok`;
  return [...blocks, `${numbers}${hint}`].join('\n\n');
}

function line({ severity, id, what }: Finding, colour: boolean): string {
  return `  ${painted(severity, colour)}  ${id}: ${what}`;
}

function details(finding: Finding, colour: boolean): string {
  const { severity, id, title, what, why, source, fix, fixable } = finding;
  return [
    `${painted(severity, colour)}  ${id}: ${title}`,
    `    what: ${what}`,
    `    why:  ${why} (${source})`,
    `    fix:  ${fix}${fixable ? ' lvp doctor --fix does it.' : ''}`,
  ].join('\n');
}

function painted(severity: Severity, colour: boolean): string {
  const text = severity.padEnd(WIDTH);
  return colour ? styleText(STYLE[severity], text, { validateStream: false }) : text;
}

/** `lvp gc`: what is left over on this host, and its repair. */
import type { Command } from 'commander';
import { ProvisionError } from '../core/errors.ts';
import type { Finding, GarbageRequest } from '../core/protocol/garbage-protocol.ts';
import type { GarbageReport } from '../core/protocol/garbage-protocol.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb, Context } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';
import { terminal } from './terminal/terminal.ts';

interface GcOptions {
  readonly dryRun?: boolean;
  readonly deleteOrphans?: boolean;
  readonly confirm?: string;
}

export const addGc: AddVerb = (program, finish) => {
  const command = program
    .command('gc')
    .option('--dry-run', 'only show what is found, and what would be done')
    .option(
      '--delete-orphans',
      'also delete published volumes of domains that are gone, where their annotation says delete',
    )
    .option('--confirm <number>', 'how many volumes that are, instead of being asked')
    .description('find what is left over, and do the repairs that are safe');
  common(
    command,
    ['lvp gc --dry-run', 'lvp gc', 'lvp gc --delete-orphans', 'lvp gc --delete-orphans --confirm 2 --json'],
    'host',
  ).action(async (options: GcOptions, self: Command) => {
    const context = contextOf(self, finish);
    const { output } = context;
    const { findings } = await collect(context, await requestOf(context, options));
    output.result({ findings }, () => textOf(findings, options.dryRun === true));
    finish(findings.every(({ done }) => done) ? EXIT.ok : EXIT.findings);
  });
};

function collect({ daemon }: Context, request: GarbageRequest): Promise<GarbageReport> {
  return daemon.collectGarbage(request);
}

async function requestOf(context: Context, options: GcOptions): Promise<GarbageRequest> {
  if (options.dryRun === true) return { dryRun: true };
  if (options.deleteOrphans !== true) return {};
  const { findings } = await collect(context, { dryRun: true });
  const orphans = findings.filter(({ action }) => action === 'delete');
  if (orphans.length === 0 && options.confirm === undefined) return {};
  const typed = options.confirm ?? (await ask(context, orphans));
  if (typed.trim() !== String(orphans.length)) {
    throw new ProvisionError({
      code: 'USAGE',
      message: `Nothing was done: there are ${orphans.length} volumes to delete, and "${typed.trim()}" was said.`,
      hint: 'See them with: lvp gc --dry-run',
    });
  }
  return { deleteOrphans: orphans.map(({ name }) => name) };
}

async function ask({ output }: Context, orphans: readonly Finding[]): Promise<string> {
  const asker = terminal();
  if (asker === undefined) {
    throw new ProvisionError({
      code: 'USAGE',
      message: 'Nothing was done: --delete-orphans asks on a terminal, and this is none.',
      hint: `Say how many volumes are to be deleted, as lvp gc --dry-run shows them: --confirm ${orphans.length}`,
    });
  }
  for (const orphan of orphans) output.note(lineOf(orphan, true));
  return (await asker.text('These hold data, which is lost then. Type their number to delete them:')) ?? '';
}

function textOf(findings: readonly Finding[], isDryRun: boolean): string {
  if (findings.length === 0) return 'Nothing is left over.';
  return findings.map((finding) => lineOf(finding, isDryRun)).join('\n');
}

const WORDS = {
  remove: ['removed', 'would be removed', 'could not be removed yet'],
  finish: ['finished', 'would be finished', 'could not be finished yet'],
  restore: ['given its name back', 'would be given its name back', 'could not be given its name back yet'],
  rebuild: [
    'taken into the ledger',
    'would be taken into the ledger',
    'could not be taken into the ledger yet',
  ],
  delete: ['deleted', 'would be deleted with --delete-orphans', 'not deleted'],
  none: ['gone meanwhile', 'kept', 'kept'],
} as const satisfies Record<Finding['action'], readonly [string, string, string]>;

function lineOf({ kind, name, action, done, why, hint }: Finding, isDryRun: boolean): string {
  const what = WORDS[action][done ? 0 : isDryRun ? 1 : 2];
  return [`${name} (${kind}): ${what}; ${why}.`, ...(hint === undefined ? [] : [`    ${hint}`])].join('\n');
}

/** `lvp list`: every annotated domain. */
import type { Command } from 'commander';
import type { DomainStatus } from '../core/control-protocol.ts';
import { EXIT } from './exit-codes.ts';
import { listTable } from './format.ts';
import type { AddVerb } from './verb.ts';
import { common, contextOf } from './verb.ts';

export const addList: AddVerb = (program, finish) => {
  common(program.command('list').alias('ls').description('show every annotated domain and its volumes'), [
    'lvp list',
    "lvp list --json | jq -r '.[] | select(.problems | length > 0) | .name'",
  ]).action(async (_options: object, self: Command) => {
    const { client, output } = contextOf(self, finish);
    const domains = await client.domains();
    output.result(domains, () =>
      domains.length === 0
        ? 'No domain asks for a volume. Annotate one with: lvp annotate VM DISK IMAGE'
        : [...frozenLines(domains), listTable(domains, output.colour)].join('\n'),
    );
    finish(EXIT.ok);
  });
};

/** Said of each of them, and here once. */
function frozenLines(domains: readonly DomainStatus[]): readonly string[] {
  const problems = domains.flatMap((domain) => domain.problems);
  return problems
    .filter(({ code }) => code === 'FROZEN')
    .slice(0, 1)
    .map(({ message }) => message);
}

/** `lvp explain VM`: what would be done now, and why. */
import type { Command } from 'commander';
import type { Explanation } from '../core/protocol/control-protocol.ts';
import { EXIT } from './program/exit-codes.ts';
import type { AddVerb } from './program/verb.ts';
import { common, contextOf } from './program/verb.ts';

export const addExplain: AddVerb = (program, finish) => {
  const command = program
    .command('explain')
    .argument('<vm>', 'name or UUID of the domain')
    .description('say what the provisioner would do now, why, and what the policy says; changes nothing');
  common(command, ['lvp explain web1', "lvp explain web1 --json | jq '.steps'"]).action(
    async (vm: string, _options: object, self: Command) => {
      const { daemon, output } = contextOf(self, finish);
      const explanation = await daemon.explain(vm);
      output.result(explanation, () => explanationText(explanation));
      finish(EXIT.ok);
    },
  );
};

function explanationText({ uuid, name, start, steps }: Explanation): string {
  const next = steps.flatMap(({ target, action, why, policy }) => [
    `  ${target === undefined ? '' : `${target}: `}${action}: ${why}`,
    ...(policy === undefined ? [] : [`    policy: ${policy}`]),
  ]);
  return [
    `${name} (${uuid})`,
    `  start ${start.allowed ? 'would be allowed' : 'would be refused'}: ${start.why}`,
    ...(next.length === 0 ? ['  nothing is to be done'] : next),
  ].join('\n');
}

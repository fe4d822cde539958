/** A published volume goes only when that is wanted and proven. */
import type { Mutant } from './mutant.ts';

export const DELETION: readonly Mutant[] = [
  {
    name: 'an end that nobody saw is taken for one here',
    killedBy: 'deleted-on-proof',
    changes: [
      {
        file: 'provision/ends/domain-ends.ts',
        from: 'return isProven ? known.lastEnd : undefined;',
        to: "return isProven || known.lastEnd === undefined ? (known.lastEnd ?? 'here') : known.lastEnd;",
      },
    ],
  },
  {
    name: 'what the annotation says of the volume is not asked',
    killedBy: 'deleted-on-proof',
    changes: [
      {
        file: 'core/plan/last-end.ts',
        from: "(lastEnd === 'here' ? request.onUndefine : request.afterMigration) ?? 'keep'",
        to: "lastEnd === 'here' || request.afterMigration !== 'keep' ? 'delete' : 'keep'",
      },
    ],
  },
  {
    name: 'a volume goes that the disk was on before',
    killedBy: 'deleted-on-proof',
    changes: [
      {
        file: 'provision/ends/end-of-volume.ts',
        from: ' &&\n      volumeKey(disk.location) === volumeKey(record.location);',
        to: ';',
      },
    ],
  },
  {
    name: 'a volume goes that another domain names',
    killedBy: 'deleted-on-proof',
    changes: [
      {
        file: 'provision/ends/delete-published.ts',
        from: 'if (user !== undefined) return kept(user);',
        to: '',
      },
    ],
  },
];

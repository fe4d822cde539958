/** What the gate lets through, and when it answers. */
import type { Mutant } from './mutant.ts';

export const STARTS: readonly Mutant[] = [
  {
    name: "another domain's seal is good enough",
    killedBy: 'only-sealed-starts',
    changes: [
      {
        file: 'core/plan/sealed.ts',
        from: 'if (seal.domainUuid !== input.domain.uuid) {',
        to: 'if (seal.domainUuid === "") {',
      },
    ],
  },
  {
    name: 'any generation is good enough',
    killedBy: 'only-sealed-starts',
    changes: [
      {
        file: 'core/plan/sealed.ts',
        from: 'if (seal.generation !== request.generation) {',
        to: 'if (seal.generation < 1) {',
      },
    ],
  },
  {
    name: 'a volume that is being filled may be started on',
    killedBy: 'only-sealed-starts',
    changes: [
      {
        file: 'core/plan.ts',
        from: "planned.disks.every((disk) => disk.action === 'none')",
        to: "planned.disks.every((disk) => disk.action !== 'refuse')",
      },
      {
        file: 'core/plan.ts',
        from: 'const refused = refuseNotBlank(input, disk);\n    if (refused !== undefined) return refused;',
        to: 'void refuseNotBlank;',
      },
    ],
  },
  {
    name: 'an arriving domain is filled',
    killedBy: 'incoming-not-filled',
    changes: [
      {
        file: 'provision/reconcile/disk-actions.ts',
        from: 'if (incoming.has(domain.uuid)) return;',
        to: '',
      },
      {
        file: 'provision/gate/admit-start.ts',
        from: "const mayFill = operation === 'prepare' && !reconciler.incoming.has(domainUuid);",
        to: 'const mayFill = true;',
      },
    ],
  },
  {
    name: 'the gate waits for the whole fill',
    killedBy: 'gate-in-time',
    changes: [
      {
        file: 'provision/gate/admit-start.ts',
        from: 'needs.clock.sleep(waitMs, grace.signal)',
        to: 'needs.clock.sleep(600_000, grace.signal)',
      },
    ],
  },
];

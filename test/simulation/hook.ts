/**
 * hooks/qemu in TypeScript: asks the daemon, and goes by the seals where nobody answers in time. The script
 * itself is tested on the real host.
 */
import { hookWaitSeconds } from '../../src/core/gate-time.ts';
import { readMark } from '../../src/core/volume/volume.ts';
import { admitStart } from '../../src/provision/gate/admit-start.ts';
import type { AdmitAnswer, GateOperation } from '../../src/provision/ports/verbs.ts';
import type { Agenda } from './agenda.ts';
import type { Daemon } from './daemon.ts';
import { GRACE_MS } from './daemon.ts';
import type { DomainSpec } from './domains.ts';
import { xmlOf } from './domains.ts';
import type { Group } from './group.ts';
import { Violation } from './violation.ts';

/** As adapters/gate-socket.ts tells the hook. */
const ANSWER_MAX_MS = hookWaitSeconds(GRACE_MS) * 1000;

export function askHook(
  needs: {
    readonly agenda: Agenda;
    readonly group: Group;
    readonly daemon: Daemon;
    readonly onViolation: (violation: Violation) => void;
    readonly onAnswer: (answer: AdmitAnswer) => void;
    /** Told when nobody answers and the seals decide. */
    readonly onSeals: (answer: AdmitAnswer) => void;
  },
  operation: GateOperation,
  spec: DomainSpec,
): Promise<AdmitAnswer> {
  const { agenda, daemon, group } = needs;
  const goBySeals = (): AdmitAnswer => {
    const answer = bySeals(group, operation, spec);
    needs.onSeals(answer);
    return answer;
  };
  if (spec.annotation === 'none') return Promise.resolve({ allowed: true, problems: [] });
  if (!daemon.life.isAlive) return Promise.resolve(goBySeals());
  return new Promise((resolve) => {
    const dropTimeout = agenda.after(ANSWER_MAX_MS, () => {
      needs.onViolation(
        new Violation('gate-in-time', `${spec.name} got no answer within ${ANSWER_MAX_MS} ms`),
      );
      answered(goBySeals);
    });
    let isAnswered = false;
    const answered = (decide: () => AdmitAnswer): void => {
      if (isAnswered) return;
      isAnswered = true;
      dropTimeout();
      resolve(decide());
    };
    // The connection breaks when the daemon dies, and the hook knows at once.
    daemon.life.atEnd(() => {
      answered(goBySeals);
    });
    admitStart(daemon.admit, operation, xmlOf(spec)).then(
      (answer) => {
        if (!daemon.life.isAlive) return;
        needs.onAnswer(answer);
        answered(() => answer);
      },
      () => {
        answered(goBySeals);
      },
    );
  });
}

function bySeals(
  group: Group,
  operation: GateOperation,
  { uuid, disks, annotation }: DomainSpec,
): AdmitAnswer {
  const allowed =
    annotation === 'good' &&
    operation !== 'migrate' &&
    disks.every(({ lv, key, generation }) => {
      // Only the daemon reads keys.
      if (key !== undefined) return false;
      const mark = readMark(group.model.find(lv)?.tags ?? []);
      if (mark.state !== 'ready' || mark.encryption !== undefined) return false;
      return mark.domainUuid === uuid && mark.generation === generation;
    });
  return { allowed, problems: [] };
}

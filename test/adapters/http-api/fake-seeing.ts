/** Two volume groups, and an audit trail with one event for each kind of end. */
import type { AuditEvent } from '../../../src/core/audit-event.ts';
import type { AuditEvents } from '../../../src/core/audit-protocol.ts';
import type { AuditVerbs, SpaceVerbs } from '../../../src/provision/ports.ts';
import { DB } from '../../cli/fake-verbs.ts';

const GIB = 2 ** 30;

export const FAKE_SPACE: SpaceVerbs = {
  space: () =>
    Promise.resolve([
      {
        ...{ vg: 'vg0', sizeBytes: 1_800 * GIB, freeBytes: 700 * GIB },
        ...{ reservedBytes: 120 * GIB, keepFreeBytes: 90 * GIB },
      },
      { vg: 'vg_fast', sizeBytes: 400 * GIB, freeBytes: 31 * GIB, reservedBytes: 0, keepFreeBytes: 0 },
    ]),
};

const about = { volume: 'vg0/db1-root', domain: DB.uuid, correlationId: '00112233445566aa' };

export class FakeAudit implements AuditVerbs {
  events: AuditEvent[] = [
    {
      ...{ ...about, at: '2026-11-30T08:00:00.000Z', who: `domain:${DB.uuid}`, what: 'publish' },
      ...{ decision: 'allowed', outcome: 'done' },
    },
    {
      ...{ at: '2026-11-30T08:00:01.000Z', who: 'unknown', what: 'GET /api/v1/jobs', correlationId: 'a' },
      ...{ decision: 'unauthorized', outcome: 'refused' },
      problem: { code: 'UNAUTHORIZED', message: 'The token is not one of this host.' },
    },
    {
      ...{ ...about, at: '2026-11-30T08:00:02.000Z', who: 'uid:0', what: 'reprovision' },
      ...{ decision: 'allowed', outcome: 'failed' },
      problem: { code: 'STORE_UNREACHABLE', message: 'The store does not answer.' },
    },
    {
      ...{ ...about, at: '2026-11-30T08:00:02.000Z', who: 'token:ci', what: 'provision' },
      ...{ decision: 'allowed', outcome: 'begun' },
    },
  ];

  audit(): Promise<AuditEvents> {
    return Promise.resolve({ events: this.events, more: true });
  }
}

/** Two volume groups, and an audit trail with one event for each kind of end. */
import type { AuditEvent } from '../../../src/core/protocol/audit-event.ts';
import type { AuditEvents } from '../../../src/core/protocol/audit-protocol.ts';
import type { AuditVerbs, SpaceVerbs } from '../../../src/provision/ports/verbs.ts';

const GIB = 2 ** 30;
const DOMAIN = '9d3a4b1c-0000-4000-8000-000000000001';
const JOB = '5dddbe6b-c6ad-4c91-9b67-acbd97c25f7c';

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

const about = { volume: 'vg0/web1-root', domain: DOMAIN, correlationId: '00112233445566aa' };

export class FakeAudit implements AuditVerbs {
  events: AuditEvent[] = [
    {
      ...{ ...about, at: '2026-11-30T08:00:00.000Z', who: `domain:${DOMAIN}`, what: 'publish' },
      ...{ decision: 'allowed', outcome: 'done' },
    },
    {
      ...{ at: '2026-11-30T08:00:00.500Z', who: `domain:job:${JOB}`, what: 'fill', volume: 'vg0/ci-one' },
      ...{ domain: JOB, decision: 'allowed', outcome: 'done', correlationId: 'b' },
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

import type { Breakage } from './breakage.ts';
import { breakage, withAnswer, withBuckets } from './breakage.ts';

export const STORE: readonly Breakage[] = [
  breakage(
    'store.reachable',
    (host) => {
      host.storeMistake = 'connect ECONNREFUSED';
    },
    'fail',
    /ECONNREFUSED/,
  ),
  breakage(
    'store.reachable',
    (host) => {
      withAnswer(host, { status: 503 });
    },
    'fail',
    /status 503/,
  ),
  breakage(
    'store.keys',
    (host) => {
      withAnswer(host, { status: 403, code: 'SignatureDoesNotMatch' });
    },
    'fail',
    /SignatureDoesNotMatch/,
  ),
  breakage(
    'store.keys',
    (host) => {
      withAnswer(host, { status: 503 });
    },
    'unknown',
    /503/,
  ),
  breakage(
    'store.clock',
    (host) => {
      withAnswer(host, { clockAheadMs: -120_000 });
    },
    'warn',
    /120 s apart/,
  ),
  breakage(
    'store.clock',
    (host) => {
      withAnswer(host, { clockAheadMs: 3_600_000 });
    },
    'fail',
    /3600 s apart/,
  ),
  breakage(
    'store.buckets',
    (host) => {
      withBuckets(host, undefined);
    },
    'warn',
    /not set/,
  ),
  breakage(
    'store.sees-few',
    (host) => {
      host.stored = { ...host.stored, buckets: ['images', 'payroll'] };
    },
    'warn',
    /payroll/,
  ),
  breakage(
    'store.sees-few',
    (host) => {
      withBuckets(host, undefined);
    },
    'info',
    /it sees 1/,
  ),
  breakage(
    'store.writes-nothing',
    (host) => {
      host.stored = { ...host.stored, writableBuckets: ['images'] };
    },
    'warn',
    /write to images/,
  ),
  breakage(
    'store.writes-nothing',
    (host) => {
      host.stored = { ...host.stored, writableBuckets: undefined };
    },
    'info',
    /does not say/,
  ),
  breakage(
    'store.digest-required',
    (host) => {
      host.configured = { ...host.configured, integrity: { requireDigest: false } };
    },
    'warn',
    /false/,
  ),
  breakage(
    'store.size-limit',
    (host) => {
      host.configMistake = 'mistakes';
    },
    'unknown',
    /see health\.config/,
  ),
];

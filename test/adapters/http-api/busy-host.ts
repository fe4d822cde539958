/** A host on which everything happens at once that a status page has to show. */
import type { DomainStatus, VolumeStatus } from '../../../src/core/protocol/control-protocol.ts';
import type { Job } from '../../../src/core/protocol/job-protocol.ts';

const GIB = 2 ** 30;

/** What somebody might call a domain, an image or themselves who wants a page of ours to run their script. */
export const HOSTILE =
  '"><img src=x onerror="document.title=1"><script>alert(1)</script>&amp;\u202e\'\0`${1}';

/** So long ago, from now on. */
const ago = (seconds: number) => new Date(Date.now() - seconds * 1_000).toISOString();

const uuid = (number: number) => `9d3a4b1c-0000-4000-8000-${number.toString(16).padStart(12, '0')}`;

function volume(target: string, lv: string, about: Partial<VolumeStatus>): VolumeStatus {
  return {
    ...{ target, image: 'images/debian-13-generic-amd64.qcow2', format: 'qcow2', pool: 'guests', volume: lv },
    ...{ state: 'ready', fillId: '00112233445566aa', updatedAt: ago(7_805), ...about },
  };
}

function domain(number: number, name: string, about: Partial<DomainStatus>): DomainStatus {
  return {
    ...{ uuid: uuid(number), name, active: false, startWhenReady: false, volumes: [], problems: [] },
    ...about,
  };
}

export const FILLING = domain(1, 'web1', {
  startWhenReady: true,
  volumes: [
    volume('vda', 'web1-root', {
      ...{ state: 'filling', phase: 'filling', bytesDone: 0.76 * GIB, bytesTotal: 2.1 * GIB },
      ...{ rateBytesPerSecond: 412 * 2 ** 20, secondsLeft: 3.2, updatedAt: ago(3) },
    }),
    volume('vdb', 'web1-data', { state: 'waiting', format: 'raw', image: 'images/empty-data.raw' }),
  ],
});

export const FAILED = domain(4, 'build-with-a-long-name-that-nobody-would-abbreviate-0042', {
  volumes: [
    volume('vda', 'build-with-a-long-name-that-nobody-would-abbreviate-0042-root', {
      state: 'failed',
      problem: {
        code: 'DIGEST_MISMATCH',
        message:
          'The image images/debian-13-generic-amd64.qcow2 has the digest 9f86d081884c7d65, and not c0ffee00c0ffee00 as the annotation says.',
        hint: 'Correct sha256 in the annotation, or upload the image again: it may have been replaced meanwhile.',
      },
    }),
  ],
});

const PUBLISHED = Array.from({ length: 9 }, (_, index) =>
  domain(16 + index, `app${index + 1}.eu-central.example.net`, {
    active: index % 3 !== 0,
    volumes: [
      volume('vda', `app${index + 1}-root`, {
        sha256: 'ab12'.repeat(16),
        updatedAt: ago(90_000 * (index + 1)),
      }),
    ],
  }),
);

export const BUSY_HOST: readonly DomainStatus[] = [
  ...PUBLISHED,
  FAILED,
  domain(5, 'cache2', {
    active: true,
    volumes: [
      volume('vda', 'cache2-root', { drift: 'generation 1, asked for 2', sha256: 'ab12'.repeat(16) }),
    ],
  }),
  domain(6, 'db1', {
    problems: [
      {
        code: 'POOL_INACTIVE',
        message: 'The pool archive is not active.',
        hint: 'Start it with: virsh pool-start archive',
      },
    ],
    volumes: [volume('vda', 'db1-root', { state: 'held', pool: 'archive' })],
  }),
  domain(7, 'mail', {
    volumes: [volume('vda', 'mail-root', { state: 'publishing', phase: 'publishing', updatedAt: ago(41) })],
  }),
  domain(8, 'old', {
    volumes: [
      volume('vda', 'old-root', {
        state: 'cancelled',
        problem: {
          code: 'CANCELLED',
          message: 'The fill was ended: cancelled by hand.',
          hint: 'Begin it again with: lvp retry old vda',
        },
      }),
    ],
  }),
  domain(9, 'unreadable', {
    problems: [
      {
        code: 'ANNOTATION_INVALID',
        message: 'The annotation of unreadable has an attribute sized, which there is none of.',
        hint: 'Did you mean size?',
      },
    ],
  }),
  FILLING,
];

const REQUEST = { image: 'images/debian-13-generic-amd64.qcow2', format: 'qcow2', volume: 'x' } as const;

function job(number: number, lv: string, about: Partial<Job>): Job {
  return {
    ...{
      id: uuid(256 + number),
      state: 'completed',
      request: { ...REQUEST, volume: lv },
      location: `vg0/${lv}`,
    },
    ...{ by: 'token:ci', bytesDone: 2.1 * GIB, bytesTotal: 2.1 * GIB },
    ...{ createdAt: ago(100), updatedAt: ago(60), ...about },
  };
}

export const BUSY_JOBS: readonly Job[] = [
  job(1, 'ci-4711', { state: 'pending', queuePosition: 2, bytesDone: 0 }),
  job(2, 'ci-4710', { state: 'running', phase: 'filling', bytesDone: 1.4 * GIB }),
  job(3, 'ci-4709', { claimedBy: uuid(16) }),
  job(4, 'ci-4708', {
    ...{ state: 'failed', bytesDone: 0, by: 'certificate:O=Example,CN=admin' },
    problem: {
      code: 'IMAGE_NOT_FOUND',
      message: 'There is no image images/debian-13-generic-amd64.qcow2.',
      hint: 'Upload it, or correct the name.',
    },
  }),
];

/** Everything that somebody else has a say in is HOSTILE. */
export const HOSTILE_HOST: readonly DomainStatus[] = [
  domain(1, HOSTILE, {
    problems: [{ code: HOSTILE, message: HOSTILE, hint: HOSTILE }],
    volumes: [
      volume(HOSTILE, HOSTILE, {
        ...{ image: HOSTILE, pool: HOSTILE, state: 'failed', aside: HOSTILE },
        problem: { code: HOSTILE, message: HOSTILE, hint: HOSTILE },
      }),
      volume('vdb', HOSTILE, {
        image: HOSTILE,
        state: 'filling',
        phase: HOSTILE,
        bytesDone: 1,
        bytesTotal: 2,
      }),
      volume('vdc', HOSTILE, { drift: HOSTILE, sha256: HOSTILE }),
    ],
  }),
];

export const HOSTILE_JOBS: readonly Job[] = [
  job(1, HOSTILE, { by: HOSTILE, state: 'failed', problem: { code: HOSTILE, message: HOSTILE } }),
  job(2, HOSTILE, { by: HOSTILE, claimedBy: HOSTILE, request: { ...REQUEST, image: HOSTILE, volume: 'x' } }),
];

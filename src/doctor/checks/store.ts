/** The image store: that it answers, what the key may do there, and what images must bring along. Only questions are asked. */
import type { Check } from '../check.ts';
import { CannotTell, configOf, fail, info, must, ok, some, SOURCE, warn } from '../check.ts';
import type { HostFacts, StoreFacts } from '../host.ts';
import { approximateSize } from '../../core/size.ts';

/** Beyond this S3 and MinIO refuse every request. */
const SKEW_MAX_MS = 15 * 60_000;
const SKEW_NOTICED_MS = 60_000;
const WRONG_KEYS = ['InvalidAccessKeyId', 'SignatureDoesNotMatch', 'XMinioInvalidAccessKeyId'];

async function answered(
  host: HostFacts,
): Promise<StoreFacts & { readonly answer: NonNullable<StoreFacts['answer']> }> {
  await configOf(host);
  const store = must(await host.store(), 'the store');
  if (store.answer === undefined) throw new CannotTell('it was not asked: its certificate is not accepted');
  return { ...store, answer: store.answer };
}

const DUTIES = SOURCE.guide('MinIO Credentials');

export const STORE_CHECKS: readonly Check[] = [
  {
    id: 'store.reachable',
    title: 'the store answers',
    why: 'Without it nothing is filled; fills wait and go on later.',
    source: SOURCE.operate('Problems'),
    fix: 'See that MinIO runs and can be reached from this host at minio.endpoint.',
    look: async (host) => {
      const { endpoint } = (await configOf(host)).minio;
      const store = await host.store();
      if (store.is !== 'known') return fail(store.is === 'absent' ? 'nobody answers' : store.why);
      const status = store.value.answer?.status;
      return status !== undefined && status >= 500
        ? fail(`${endpoint.host} answers with status ${status}`)
        : ok(endpoint.host);
    },
  },
  {
    id: 'store.keys',
    title: 'the store accepts the keys',
    why: 'Otherwise every image is STORE_ACCESS_DENIED.',
    source: SOURCE.operate('Problems'),
    fix: 'Write the right keys into credentials/, then: lvp config reload',
    look: async (host) => {
      const { status, code = '' } = (await answered(host)).answer;
      if (WRONG_KEYS.includes(code)) return fail(`refused: ${code}`);
      if (status === 200 || code === 'AccessDenied') return ok('accepted');
      throw new CannotTell(`it answered with status ${status} ${code}`.trim());
    },
  },
  {
    id: 'store.clock',
    title: 'this host and the store agree on the time',
    why: 'A quarter of an hour apart, every request is refused; certificates and logs need the right time, too.',
    source: SOURCE.operate('Problems'),
    fix: 'See timedatectl, on both.',
    look: async (host) => {
      const aheadMs = (await answered(host)).answer.clockAheadMs;
      if (aheadMs === undefined) throw new CannotTell('it does not say what time it is');
      const said = `${Math.round(Math.abs(aheadMs) / 1000)} s apart`;
      if (Math.abs(aheadMs) >= SKEW_MAX_MS) return fail(said);
      return Math.abs(aheadMs) > SKEW_NOTICED_MS ? warn(said) : ok(said);
    },
  },
  {
    id: 'store.buckets',
    title: 'only named buckets can be asked for',
    why: 'Otherwise whoever writes domain XML has every bucket that the key reads put onto a disk of his.',
    source: SOURCE.guide('Request Validation'),
    fix: 'Set minio.buckets to those that hold images.',
    look: async (host) => {
      const { buckets } = (await configOf(host)).minio;
      return buckets === undefined ? warn('minio.buckets is not set') : ok(some(buckets));
    },
  },
  {
    id: 'store.sees-few',
    title: 'the key sees no other buckets',
    why: 'It lies on every host: what it can read is known wherever one of them is broken into.',
    source: DUTIES,
    fix: 'Give the service account a policy with s3:GetObject, s3:GetObjectVersion, s3:ListBucket and, for prefetching, s3:ListenBucketNotification on the image buckets alone.',
    look: async (host) => {
      const { buckets: seen } = await answered(host);
      const { buckets } = (await configOf(host)).minio;
      if (seen === undefined) return ok('it may not list buckets');
      const others = buckets === undefined ? seen : seen.filter((bucket) => !buckets.includes(bucket));
      if (buckets === undefined)
        return info(`it sees ${seen.length}; with minio.buckets it could be told whether that is too many`);
      return others.length === 0 ? ok('those that are configured') : warn(`it also sees ${some(others)}`);
    },
  },
  {
    id: 'store.writes-nothing',
    title: 'the key may not write',
    why: 'A host that is broken into could exchange the images, and the digests beside them, of all others.',
    source: DUTIES,
    fix: 'Give the service account a policy with s3:GetObject, s3:GetObjectVersion, s3:ListBucket and, for prefetching, s3:ListenBucketNotification on the image buckets alone; never use root’s keys.',
    look: async (host) => {
      const { writableBuckets } = await answered(host);
      // To find out by trying would be to write.
      if (writableBuckets === undefined)
        return info('the store does not say what a key may do; see its policy');
      return writableBuckets.length === 0
        ? ok('it may write to no bucket')
        : warn(`it may write to ${some(writableBuckets)}`);
    },
  },
  {
    id: 'store.digest-required',
    title: 'images without a digest are refused',
    why: 'Nothing else tells an image that was exchanged or cut off from the one that was meant.',
    source: SOURCE.guide('Request Validation'),
    fix: 'Leave integrity.require_digest out, or set it to true.',
    look: async (host) =>
      (await configOf(host)).integrity.requireDigest
        ? ok('integrity.require_digest is true')
        : warn('integrity.require_digest is false'),
  },
  {
    id: 'store.size-limit',
    title: 'images cannot claim any size',
    why: 'A qcow2 file of a megabyte may say that it has many TiB.',
    source: SOURCE.usage('Disk image size validation'),
    fix: 'Set limits.virtual_size_max to what the largest guest needs.',
    look: async (host) =>
      ok(`limits.virtual_size_max is ${approximateSize((await configOf(host)).limits.virtualSizeMaxBytes)}`),
  },
];

/**
 * What the configuration of this host lets domains be filled with, and where: an ordered list of rules, of which
 * the first that matches a domain decides. It is about filling only: what is published already is nobody's to
 * refuse (docs/operate.md, "Policy").
 */
import type { Problem } from '../errors.ts';
import type { ProofKind } from '../images/proof.ts';
import { describeOwner, isJob } from '../owner.ts';
import { quote } from '../quote.ts';
import type { Domain, ImageFormat, OuterCompression, VolumeLocation, VolumeRequest } from '../request.ts';
import { imageName } from '../request.ts';
import { approximateSize } from '../size.ts';
import type { LocatedVolume } from '../volume/locate.ts';
import { fitsPattern } from './name-pattern.ts';

/** Which domains it is for (all matchers that are given), and what it lets them have; what is absent restricts nothing. */
export interface PolicyRule {
  /** Shown to users; no two rules have the same. */
  readonly name: string;
  /** Patterns, one of which the domain's name has to fit (name-pattern.ts). */
  readonly domains?: readonly string[] | undefined;
  /** In lower case. */
  readonly uuids?: readonly string[] | undefined;
  /** False: nothing is filled for these domains. */
  readonly allow: boolean;
  readonly pools?: readonly string[] | undefined;
  readonly volumeGroups?: readonly string[] | undefined;
  /** With one of these the image's `BUCKET/KEY` has to begin. */
  readonly images?: readonly string[] | undefined;
  readonly formats?: readonly ImageFormat[] | undefined;
  readonly compression?: readonly (OuterCompression | 'none')[] | undefined;
  /** Of the volume, in bytes. */
  readonly sizeMaxBytes?: number | undefined;
  /** The least that an image has to bring along as its proof. */
  readonly require?: ProofKind | undefined;
}

/** In this order; a domain that none of them matches gets nothing. */
export type HostPolicy = readonly PolicyRule[];

export type Verdict =
  | { readonly allowed: true; readonly rule: PolicyRule }
  /** `said` is the problem in a few words. */
  | { readonly allowed: false; readonly said: string; readonly problem: Problem };

/** Longer names are matched by no rule: no libvirt that keeps its definitions in files has any. */
const NAME_LENGTH_MAX = 1024;
const LISTED_MAX = 5;

const OR_ELSE =
  'or have `policy` in the configuration changed and the provisioner restarted, then run `lvp retry`.';

/** The first rule that matches; undefined: none does. */
export function ruleFor(
  policy: HostPolicy,
  { uuid, name }: Pick<Domain, 'uuid' | 'name'>,
): PolicyRule | undefined {
  if (name.length > NAME_LENGTH_MAX) return undefined;
  return policy.find(
    ({ domains, uuids }) =>
      (domains?.some((pattern) => fitsPattern(name, pattern)) ?? true) && (uuids?.includes(uuid) ?? true),
  );
}

/**
 * Whether this disk may be filled as it is asked for; `sizeBytes` is of the volume, as far as it is known.
 * Undefined: this host has no policy.
 */
export function judgeFill(
  policy: HostPolicy | undefined,
  domain: Pick<Domain, 'uuid' | 'name'>,
  { request, location }: LocatedVolume,
  sizeBytes = request.sizeBytes,
): Verdict | undefined {
  return judge(policy, domain, request.target, (rule) => [
    ...misplaced(rule, location),
    ...foreign(rule, imageName(request.image)),
    ...unlisted('format', request.format, rule.formats),
    ...unlisted('compression', request.compression ?? 'none', rule.compression),
    ...oversized(rule, sizeBytes),
  ]);
}

/** Whether a volume for this domain may be there at all, whatever comes to be on it; undefined: no policy. */
export function judgePlace(
  policy: HostPolicy | undefined,
  domain: Pick<Domain, 'uuid' | 'name'>,
  target: string,
  location: Pick<VolumeLocation, 'pool' | 'vg'>,
  sizeBytes?: number,
): Verdict | undefined {
  return judge(policy, domain, target, (rule) => [
    ...misplaced(rule, location),
    ...oversized(rule, sizeBytes),
  ]);
}

/**
 * Whether there is any domain that may have this image, and the rule of those that let it which wants the least
 * proof; undefined: no policy. For what is brought here before a domain asks.
 */
export function judgeImage(
  policy: HostPolicy | undefined,
  { image, format, compression }: Pick<VolumeRequest, 'image' | 'format' | 'compression'>,
): Verdict | undefined {
  const name = imageName(image);
  const letting = policy?.filter((rule) => {
    const objections = [
      ...foreign(rule, name),
      ...unlisted('format', format, rule.formats),
      ...unlisted('compression', compression ?? 'none', rule.compression),
    ];
    return rule.allow && objections.length === 0;
  });
  if (letting === undefined) return undefined;
  const rule = letting.find(({ require }) => require !== 'signature') ?? letting[0];
  if (rule !== undefined) return { allowed: true, rule };
  return refused(
    'no rule allows the image',
    `No rule of this host's policy lets any domain have the image ${quote(name)} as ${format}.`,
    'Take it out of prefetch.rules, or have `policy` in the configuration changed.',
  );
}

function judge(
  policy: HostPolicy | undefined,
  domain: Pick<Domain, 'uuid' | 'name'>,
  target: string,
  objectionsOf: (rule: PolicyRule) => readonly string[],
): Verdict | undefined {
  if (policy === undefined) return undefined;
  const isForJob = isJob(domain.uuid);
  const who = isForJob ? describeOwner(domain.uuid) : `domain ${quote(domain.name)}`;
  const what = isForJob ? 'it gets no volume' : `its disk ${target} gets no volume`;
  const rule = ruleFor(policy, domain);
  if (rule === undefined) {
    return refused(
      'no rule matches',
      `No rule of this host's policy matches ${who}${isForJob ? '' : ` (${domain.uuid})`}, so ${what}.`,
      `${isForJob ? 'Ask for it in the annotation of a domain' : 'Give the domain a name'} that a rule is for, ${OR_ELSE}`,
    );
  }
  if (!rule.allow) {
    return refused(
      `rule ${rule.name} allows nothing`,
      `Rule ${rule.name} of this host's policy allows ${who} nothing, so ${what}.`,
      `Take the disk out of the annotation, ${OR_ELSE}`,
    );
  }
  const objections = objectionsOf(rule);
  if (objections.length === 0) return { allowed: true, rule };
  const why = objections.join('; ');
  return refused(
    `rule ${rule.name} refuses it: ${why}`,
    `Rule ${rule.name} of this host's policy does not allow this for ${isForJob ? who : `disk ${target} of ${who}`}: ${why}.`,
    `Change the annotation or the disk, ${OR_ELSE}`,
  );
}

function refused(said: string, message: string, hint: string): Verdict {
  return { allowed: false, said, problem: { code: 'POLICY_REFUSED', message, hint } };
}

function misplaced(rule: PolicyRule, { pool, vg }: Pick<VolumeLocation, 'pool' | 'vg'>): string[] {
  return [...unlisted('pool', pool ?? '', rule.pools), ...unlisted('volume group', vg, rule.volumeGroups)];
}

function foreign({ images }: PolicyRule, image: string): string[] {
  if (images?.some((prefix) => image.startsWith(prefix)) ?? true) return [];
  return [`the image ${quote(image)} begins with none of ${listed(images)}`];
}

function unlisted(what: string, value: string, allowed: readonly string[] | undefined): string[] {
  if (allowed?.includes(value) ?? true) return [];
  return [`${what} ${quote(value)} is none of ${listed(allowed)}`];
}

/** The first of them: a message is no place for a thousand. */
function listed(values: readonly string[] = []): string {
  const more = values.length - LISTED_MAX;
  const shown = values.slice(0, LISTED_MAX).map(quote).join(', ');
  return more > 0 ? `${shown} and ${more} more` : shown;
}

function oversized({ sizeMaxBytes = Infinity }: PolicyRule, sizeBytes: number | undefined): string[] {
  if (sizeBytes === undefined || sizeBytes <= sizeMaxBytes) return [];
  const sizes = [sizeBytes, sizeMaxBytes].map((bytes) => `${approximateSize(bytes)} (${bytes} bytes)`);
  return [`the volume has ${sizes.join(', and at most ')} are allowed`];
}

/** Which rule says what about a disk, in a few words. */
export function describeVerdict(verdict: Verdict): string {
  return verdict.allowed ? `rule ${verdict.rule.name} allows it` : verdict.said;
}

/** The section `policy` of the configuration file: rules in order, and what makes no sense in them. */
import { z } from 'zod';
import { isUuid } from '../../core/uuid.ts';
import { flag, leaf, listOf, oneOf, parsePrefix, size, someOf, volumeGroups } from './leaves.ts';

/** Text on one line. */
function line(value: unknown): string | undefined {
  return typeof value === 'string' && /^[^\p{Cc}]{1,255}$/u.test(value) ? value : undefined;
}

function uuid(value: unknown): string | undefined {
  const text = typeof value === 'string' ? value.toLowerCase() : '';
  return isUuid(text) ? text : undefined;
}

const Rule = z.strictObject({
  name: leaf('a name of 1 to 64 letters, digits and . _ -', (value) =>
    typeof value === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(value) ? value : undefined,
  ),
  domains: leaf('a list of at least one pattern for names, such as "prod-*" or "web?"', (value) =>
    listOf(value, line),
  ).optional(),
  uuids: leaf('a list of at least one UUID as virsh domuuid prints it', (value) =>
    listOf(value, uuid),
  ).optional(),
  allow: flag.default(true),
  pools: leaf('a list of at least one name of a storage pool', (value) => listOf(value, line)).optional(),
  volume_groups: volumeGroups(1).optional(),
  images: leaf('a list of at least one beginning of BUCKET/KEY, such as images/prod/', (value) =>
    listOf(value, parsePrefix),
  ).optional(),
  formats: someOf('raw', 'qcow2').optional(),
  compression: someOf('none', 'gzip', 'zstd', 'xz').optional(),
  size_max: size('a size such as 500GiB or 2TiB').optional(),
  require: oneOf('digest', 'signature').optional(),
});
type Rule = z.infer<typeof Rule>;

/** None at all would refuse everything, which nobody means who writes nothing. */
export const Policy = z
  .array(Rule)
  .min(1, 'a list of at least one rule; without the key, all that the other settings allow is filled')
  .max(1000, 'a list of at most 1000 rules');

/** What it takes for a rule to be met that stands elsewhere in the file. */
interface Known {
  readonly groups: readonly string[];
  readonly isSignatureUsable: boolean;
}

interface Mistake {
  readonly path: (string | number)[];
  readonly message: string;
}

/** Rules that contradict themselves or others, can never count, or never be met. */
export function policyMistakes(rules: readonly Rule[], known: Known): Mistake[] {
  const last = rules.findIndex(isForAll);
  return rules.flatMap((rule, index) => {
    const mistakes: [isWrong: boolean, key: keyof Rule, message: string][] = [
      [rules.slice(0, index).some(({ name }) => name === rule.name), 'name', 'a name that no other rule has'],
      [
        last >= 0 && index > last,
        'name',
        `no rule behind ${rules[last]?.name ?? ''}, which is for every domain: it would never count`,
      ],
      [!rule.allow && isNarrowed(rule), 'allow', 'false only in a rule that allows nothing besides'],
      [
        rule.volume_groups?.some((vg) => !known.groups.includes(vg)) === true,
        'volume_groups',
        'a list of some of volume_groups: nothing is ever made in others',
      ],
      [
        rule.require === 'signature' && !known.isSignatureUsable,
        'require',
        'signature only together with at least one key in integrity.minisign_keys',
      ],
    ];
    return mistakes
      .filter(([isWrong]) => isWrong)
      .map(([, key, message]) => ({ path: ['policy', index, key], message }));
  });
}

function isForAll({ domains, uuids }: Rule): boolean {
  return uuids === undefined && (domains?.some((pattern) => /^\*+$/.test(pattern)) ?? true);
}

const MATCHING: readonly string[] = ['name', 'domains', 'uuids', 'allow'] satisfies (keyof Rule)[];

function isNarrowed(rule: Rule): boolean {
  return Object.entries(rule).some(([key, value]) => value !== undefined && !MATCHING.includes(key));
}

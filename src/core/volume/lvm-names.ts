/**
 * The names LVM allows, and the names device-mapper makes of them. The root helper checks with these same
 * functions what the daemon tells it. Rules: lvm(8), "Valid names", and what `strings lvm` shows is reserved.
 */
import { TARGET_LENGTH_MAX } from './volume.ts';

/** LV names beginning so are ours, whoever asks for them. */
export const RESERVED_PREFIX = 'lvp-';

const NAME_LENGTH_MAX = 127;
/** device-mapper keeps 128 bytes for a name, the last of them NUL. */
const MAPPER_NAME_LENGTH_MAX = 127;

const RESERVED_STARTS = ['snapshot', 'pvmove'];
const RESERVED_PARTS = [
  ...['_cdata', '_cmeta', '_corig', '_cpool', '_cvol', '_edata', '_imeta', '_iorig', '_mimage', '_mlog'],
  ...['_pmspare', '_rimage', '_rmeta', '_tdata', '_tmeta', '_vdata', '_vorigin', '_wcorig'],
];

/** Why LVM would refuse the name of a volume group, in words that follow "it …"; undefined if it would not. */
export function vgNameMistake(name: string): string | undefined {
  if (name === '') return 'is empty';
  if (name.length > NAME_LENGTH_MAX) return `is longer than ${NAME_LENGTH_MAX} characters`;
  if (!/^[A-Za-z0-9+_.-]+$/.test(name)) return 'has characters other than letters, digits, + _ . and -';
  if (name.startsWith('-')) return 'begins with a hyphen';
  return name === '.' || name === '..' ? 'is a dot or two' : undefined;
}

/** The same for the name of a logical volume, which has more reserved words. */
export function lvNameMistake(name: string): string | undefined {
  const mistake = vgNameMistake(name);
  if (mistake !== undefined) return mistake;
  const start = RESERVED_STARTS.find((word) => name.startsWith(word));
  if (start !== undefined) return `begins with "${start}", which LVM keeps for itself`;
  const part = RESERVED_PARTS.find((word) => name.includes(word));
  return part === undefined ? undefined : `has "${part}" in it, which LVM keeps for itself`;
}

export function isVgName(name: string): boolean {
  return vgNameMistake(name) === undefined;
}

export function isLvName(name: string): boolean {
  return lvNameMistake(name) === undefined;
}

/** Why a volume with this final name cannot be provisioned, in the same words. */
export function targetNameMistake(vg: string, lv: string): string | undefined {
  const mistake = lvNameMistake(lv);
  if (mistake !== undefined) return mistake;
  if (lv.startsWith(RESERVED_PREFIX)) {
    return `begins with "${RESERVED_PREFIX}", which marks volumes still being filled`;
  }
  if (lv.length > TARGET_LENGTH_MAX) return `is longer than ${TARGET_LENGTH_MAX} characters`;
  return mapperName(vg, lv).length > MAPPER_NAME_LENGTH_MAX
    ? `is too long for /dev/mapper together with the volume group "${vg}"`
    : undefined;
}

/** The name in /dev/mapper: hyphens doubled, one hyphen between volume group and volume. */
export function mapperName(vg: string, lv: string): string {
  return `${vg.replaceAll('-', '--')}-${lv.replaceAll('-', '--')}`;
}

/**
 * The other way round; undefined for a name that is not that of a volume, such as `vg0-lv0-cow` of LVM's
 * own parts. In `a---b` the pair comes first, as no LV name begins with a hyphen.
 */
export function splitMapperName(name: string): { vg: string; lv: string } | undefined {
  const [, vg, lv] = /^((?:[^-]|--)+)-((?:[^-]|--)+)$/.exec(name) ?? [];
  if (vg === undefined || lv === undefined) return undefined;
  return { vg: vg.replaceAll('--', '-'), lv: lv.replaceAll('--', '-') };
}

/** What can be wrong about golden volumes, in words. */
import { ProvisionError } from '../../core/errors.ts';
import type { GoldenVolume } from '../../core/thin/golden.ts';

type Named = Pick<GoldenVolume, 'vg' | 'lv'>;

export function nameOfGolden({ vg, lv }: Named): string {
  return `${vg}/${lv}`;
}

export function noThinPool(vg: string): ProvisionError {
  return new ProvisionError({
    code: 'POOL_UNSUITABLE',
    message: `The volume group ${vg} has no thin pool in which there could be golden volumes.`,
    hint: 'Name it in thin_pools of the configuration, or prefetch to the cache.',
  });
}

export function goldenGone(golden: Named): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_MISSING',
    message: `The golden volume ${nameOfGolden(golden)} is being removed.`,
    hint: 'It is made again when it is next wanted.',
  });
}

export function goldenInUse(golden: Named): ProvisionError {
  return new ProvisionError({
    code: 'GOLDEN_IN_USE',
    message: `The golden volume ${nameOfGolden(golden)} is just being cloned or checked.`,
    hint: 'Try again in a moment.',
  });
}

/** It was there a moment ago. */
export function goldenVanished(golden: Named): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_MISSING',
    message: `The golden volume ${nameOfGolden(golden)} was made and is gone.`,
    hint: 'Somebody removed it; it is made again.',
  });
}

export function goldenPinned(golden: Named): ProvisionError {
  return new ProvisionError({
    code: 'POLICY_REFUSED',
    message: `The golden volume ${nameOfGolden(golden)} is pinned by the configuration.`,
    hint: 'Take its image out of prefetch.rules, or set pin to false there, and restart the provisioner.',
  });
}

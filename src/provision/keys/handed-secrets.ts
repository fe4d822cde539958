/**
 * Secrets of libvirt for encrypted volumes: each is set with a key that opens its volume, and unset again. Remembered is
 * for whom it was set, and with which key by name; the key itself is gone when it is set.
 */
import type { Problem } from '../../core/errors.ts';
import { toProblem } from '../../core/errors.ts';
import type { KeyReference } from '../../core/key/key-reference.ts';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import { CHANGED_SECRET_HINT, secretPath } from '../../core/key/secret-name.ts';
import type { ReceivingMark, Seal } from '../../core/volume/volume.ts';
import type { AuditTrail } from '../ports/audit.ts';
import type { Log } from '../ports/host.ts';
import type { Keys } from '../ports/keys.ts';
import type { GuestSecrets } from '../ports/libvirt.ts';
import type { LuksVolumes } from '../ports/volumes.ts';
import type { KeyWatch } from '../ports/watches.ts';
import { readKey } from './read-key.ts';
import type { TimeLimit } from '../time-limit.ts';
import { within } from '../time-limit.ts';
import { briefly, failureOf, newCorrelationId } from '../audit/recorded.ts';
import { Turns } from '../pools/taking-turns.ts';

/** An encrypted disk whose volume is proven to be this one. */
export interface KeyedDisk {
  readonly target: string;
  readonly key: KeyReference;
  readonly vg: string;
  readonly lv: string;
  readonly seal: Seal | ReceivingMark;
}

/** For whom a secret is set, or may be. */
export interface Holder {
  readonly uuid: string;
  readonly key: KeyReference;
}

export interface SecretNeeds {
  readonly keys: Keys;
  readonly luks: Pick<LuksVolumes, 'checkLuks'>;
  readonly secrets: GuestSecrets;
  readonly log: Log;
  readonly trail: AuditTrail;
  readonly watch: KeyWatch;
}

const TOO_LATE: Problem = {
  code: 'TIMEOUT',
  message: 'Its key could not be tried on its volume and handed to libvirt in time.',
  hint: 'LVM or libvirt is busy or stuck; try again in a moment.',
};

/** Of a secret of ours that is not as we have defined it. */
export const CHANGED: Problem = {
  code: 'VOLUME_STATE',
  message: 'Somebody has defined the secret of libvirt that holds it anew; its value may have been on disk.',
  hint: CHANGED_SECRET_HINT,
};

const GONE: Problem = {
  code: 'VOLUME_STATE',
  message: 'libvirt had it no more: libvirtd was started anew, or somebody has undefined its secret.',
};

export class HandedSecrets {
  readonly #needs: SecretNeeds;
  /** By path of the volume. */
  readonly #handed = new Map<string, Holder>();
  /** Setting and unsetting one, each after what was begun before. */
  readonly #turns = new Turns();

  constructor(needs: SecretNeeds) {
    this.#needs = needs;
  }

  holderOf(path: string): Holder | undefined {
    return this.#handed.get(path);
  }

  /** By path. */
  get holders(): ReadonlyMap<string, Holder> {
    return this.#handed;
  }

  /** Undefined if libvirt has it; else why not. */
  async set(uuid: string, disk: KeyedDisk, limit: TimeLimit): Promise<Problem | undefined> {
    const { keys, log, watch } = this.#needs;
    const path = secretPath(disk);
    const holder = { uuid, key: disk.key };
    try {
      const key = await readKey(keys, disk.key, limit);
      await within(limit, this.#checkAndSet(path, disk, { key, limit }), TOO_LATE);
      this.#handed.set(path, holder);
      watch.handedOver('done');
      this.record('key hand over', path, holder, { decision: 'allowed', outcome: 'done' });
      return undefined;
    } catch (error) {
      const problem = toProblem(error);
      log.warn(
        { domain: uuid, path, key: formatKeyReference(disk.key), problem },
        'a key was not handed over',
      );
      watch.handedOver('refused');
      this.record('key hand over', path, holder, failureOf(error));
      return { ...problem, message: `Disk ${disk.target}: ${problem.message}` };
    }
  }

  /** Goes on when nobody waits any more, and wipes the key when nobody uses it any more. */
  async #checkAndSet(
    path: string,
    { vg, seal }: KeyedDisk,
    { key, limit }: { readonly key: Awaited<ReturnType<Keys['read']>>; readonly limit: TimeLimit },
  ): Promise<void> {
    const { luks, secrets } = this.#needs;
    try {
      await luks.checkLuks(vg, seal, key);
      await this.#turns.take(path, async () => {
        if (!limit.signal.aborted) await secrets.set(path, key);
      });
    } finally {
      key.wipe();
    }
  }

  /**
   * Unless it is not meant any more when its turn has come. `changed`: who needs it, if it is one that somebody has defined
   * anew.
   */
  async unset(path: string, isStillMeant: () => boolean, changed?: Holder): Promise<void> {
    await this.#turns.take(path, async () => {
      if (!isStillMeant()) return;
      const wasSet = await this.#needs.secrets.unset(path);
      const holder = this.#handed.get(path) ?? changed;
      this.#handed.delete(path);
      if (holder === undefined) return;
      const problem = changed === undefined ? (wasSet ? undefined : GONE) : CHANGED;
      this.record('key take back', path, holder, {
        ...{ decision: 'allowed', outcome: 'done' },
        ...(problem === undefined ? {} : { problem: briefly(problem) }),
      });
    });
  }

  /** Writes down what became of a key; which one, and never the key. */
  record(
    what: 'key hand over' | 'key take back' | 'key revoked',
    path: string,
    { uuid, key }: Holder,
    how: Pick<Parameters<AuditTrail['record']>[0], 'decision' | 'outcome' | 'problem'>,
  ): void {
    this.#needs.trail.record({
      ...{
        who: what === 'key hand over' ? `domain:${uuid}` : 'daemon',
        what,
        domain: uuid,
        volume: path.replace(/^\/dev\//, ''),
      },
      ...{ key: formatKeyReference(key), correlationId: newCorrelationId(), ...how },
    });
  }
}

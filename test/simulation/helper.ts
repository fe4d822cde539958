/**
 * The root helper as a process of its own: it works off one request after the other with its real verbs,
 * every LVM command takes time, and it can be killed between any two of them. systemd starts it again.
 */
import { ProvisionError } from '../../src/core/errors.ts';
import { HelperResponse } from '../../src/core/protocol/helper-protocol.ts';
import { readMark } from '../../src/core/volume/volume.ts';
import type { GoldenSeal, NewGoldenSeal, ReceivingMark, Seal } from '../../src/core/volume/volume.ts';
import { answer } from '../../src/helper/requests.ts';
import type { Tools } from '../../src/helper/tools.ts';
import type { Blankness } from '../../src/core/plan/input.ts';
import type { VolumeKey } from '../../src/provision/ports/keys.ts';
import type { LuksVolumes, PrivateVolume, Volumes } from '../../src/provision/ports/volumes.ts';
import type { Faults } from './faults.ts';
import type { Group } from './group.ts';
import { VG } from './domains.ts';
import { EXTENT_BYTES } from './group.ts';
import type { Life } from './life.ts';
import type { Command } from './command.ts';
import { asCommand } from './command.ts';
import type { JudgedKeys } from './stepping-luks.ts';
import { steppingLuks } from './stepping-luks.ts';
import { Violation } from './violation.ts';

interface Request {
  readonly verb: string;
  readonly keys?: readonly VolumeKey[];
  readonly seal?: Seal | ReceivingMark | GoldenSeal | NewGoldenSeal;
  readonly [field: string]: unknown;
}

export class Helper {
  readonly #group: Group;
  readonly #faults: Faults;
  readonly #newLife: () => Life;
  readonly #onViolation: (violation: Violation) => void;
  readonly #trace: (line: string) => void;
  readonly #judgedKeys: JudgedKeys;
  #life: Life;
  #last: Promise<unknown> = Promise.resolve();

  constructor(needs: {
    readonly group: Group;
    readonly faults: Faults;
    readonly newLife: () => Life;
    readonly onViolation: (violation: Violation) => void;
    readonly trace: (line: string) => void;
    /** Looks on while something is done to the header of a volume. */
    readonly judgedKeys: JudgedKeys;
  }) {
    this.#group = needs.group;
    this.#faults = needs.faults;
    this.#newLife = needs.newLife;
    this.#onViolation = needs.onViolation;
    this.#trace = needs.trace;
    this.#judgedKeys = needs.judgedKeys;
    this.#life = this.#newLife();
  }

  /** Whoever waits for an answer sees the connection close. */
  kill(by?: string): void {
    this.#life.end(by);
    this.#life = this.#newLife();
    this.#last = Promise.resolve();
  }

  get life(): Life {
    return this.#life;
  }

  /** The port that one life of the daemon has. */
  volumes(daemon: Life): Volumes {
    const ask = <T>(request: Request) => this.#ask<T>(daemon, request);
    return {
      list: () => ask({ verb: 'list' }),
      examine: (vg, lv) => ask<Blankness>({ verb: 'examine', vg, lv }),
      create: (volume: PrivateVolume, sizeBytes, thinPool) =>
        ask({ verb: 'create', volume: plain(volume), sizeBytes, thinPool }),
      clone: (volume, { fillId, sha256, format }, sizeBytes) =>
        ask({ verb: 'clone', volume: plain(volume), golden: { fillId, sha256, format }, sizeBytes }),
      adopt: (volume) => ask({ verb: 'adopt', volume: plain(volume) }),
      publish: (volume, seal, key) =>
        ask({ verb: 'publish', volume: plain(volume), seal, ...(key === undefined ? {} : { keys: [key] }) }),
      claim: (vg, seal, domainUuid) => ask({ verb: 'claim', vg, seal, domainUuid }),
      retire: (vg, seal) => ask({ verb: 'retire', vg, seal }),
      restore: (vg, seal) => ask({ verb: 'restore', vg, seal }),
      arrive: (vg, seal) => ask({ verb: 'arrive', vg, seal }),
      recall: (vg, fillId) => ask({ verb: 'recall', vg, fillId }),
      discard: ({ vg, fillId }) => ask({ verb: 'discard', vg, fillId }),
      drop: (vg, seal) => ask({ verb: 'drop', vg, seal }),
    };
  }

  /** The part of it for encrypted volumes. */
  luks(daemon: Life): LuksVolumes {
    const ask = <T>(request: Request) => this.#askAboutEncrypted<T>(daemon, request);
    return {
      formatLuks: (volume, key) => ask({ verb: 'formatLuks', volume: plain(volume), keys: [key] }),
      openLuks: (volume, key) => ask({ verb: 'openLuks', volume: plain(volume), keys: [key] }),
      closeLuks: ({ vg, fillId }) => ask({ verb: 'closeLuks', vg, fillId }),
      checkLuks: (vg, seal, key) => ask({ verb: 'checkLuks', vg, seal, keys: [key] }),
      addLuksKey: (vg, seal, key, added) => ask({ verb: 'addLuksKey', vg, seal, keys: [key, added] }),
      keepOnlyLuksKey: (vg, seal, key) => ask({ verb: 'keepOnlyLuksKey', vg, seal, keys: [key] }),
      eraseLuks: (vg, seal) => ask({ verb: 'eraseLuks', vg, seal }),
    };
  }

  /** As adapters/lvm-luks.ts has it: what is not encrypted is no business of these verbs. */
  #askAboutEncrypted<T>(daemon: Life, request: Request): Promise<T> {
    const { seal } = request;
    if (seal === undefined || ('encryption' in seal && seal.encryption !== undefined))
      return this.#ask<T>(daemon, request);
    const message = 'The volume was not made to be encrypted.';
    return Promise.reject(new ProvisionError({ code: 'VOLUME_STATE', message }));
  }

  async #ask<T>(daemon: Life, { keys, ...asked }: Request): Promise<T> {
    const { verb } = asked;
    await daemon.step(`helper ${verb}`);
    if (this.#faults.strikes('helperGone')) throw unavailable('cannot be reached');
    // The kernel has them from here on.
    const sent = keys?.map(({ bytes }) => Buffer.from(bytes));
    const request = sent === undefined ? asked : { ...asked, keyLengths: sent.map(({ length }) => length) };
    const line = await this.#inTurn(daemon, JSON.stringify(request), sent);
    await daemon.step(`helper ${verb} answered`);
    if (line === undefined || this.#faults.strikes('helperAnswerLost'))
      throw unavailable('hung up without an answer');
    const response = HelperResponse.parse(JSON.parse(line));
    if (response.ok) return response.result as T;
    if (response.problem.code === 'INTERNAL') {
      this.#onViolation(
        new Violation('no-defect', `helper, ${JSON.stringify(request)}: ${response.problem.message}`),
      );
    }
    throw new ProvisionError(response.problem);
  }

  /** One request at a time; undefined if the helper is killed before it has answered. */
  #inTurn(daemon: Life, request: string, keys: readonly Buffer[] = []): Promise<string | undefined> {
    const life = this.#life;
    const hungUp = new Promise<undefined>((resolve) => {
      life.atEnd(() => {
        resolve(undefined);
      });
    });
    const turn = this.#last.then(async () => {
      // Who has hung up before its turn does not want the thing done any more.
      if (!daemon.isAlive) return undefined;
      const groups = { own: [VG], verified: [], shared: [], thinPools: this.#group.thinPools };
      return (await answer(request, this.#tools(life), () => Promise.resolve(groups), keys)).line;
    });
    this.#last = turn.catch(() => undefined);
    return Promise.race([turn, hungUp]);
  }

  #tools(life: Life): Tools {
    const { model } = this.#group;
    const { lvm, devices, luks, keyFiles } = model.tools();
    const command: Command = async (name, lv, from, effect) => {
      await life.step(`before ${name}`);
      if (this.#faults.strikes('lvmFails')) throw failed(name, lv);
      const found = model.find(from);
      const before = found === undefined ? undefined : readMark(found.tags);
      await asCommand(effect);
      this.#trace(
        `lvm ${name} ${from === lv ? lv : `${from} ${lv}`} [${model.find(lv)?.tags.join(' ') ?? 'gone'}]`,
      );
      this.#judge(() => {
        this.#group.afterCommand(name, lv, before);
      });
      await life.step(`after ${name}`);
    };
    const volumes: Tools['lvm']['volumes'] = async (vgs) => {
      await life.step('lvs');
      this.#group.measureThinPool();
      const opened = new Set(
        model.volumes.filter((volume) => this.#group.isOpen(volume)).map(({ uuid }) => uuid),
      );
      const rows = await lvm.volumes(vgs);
      return rows.map((row) => ({ ...row, open: row.open || opened.has(row.uuid) }));
    };
    return {
      ...{ luks: steppingLuks(luks, { model, life, command, judged: this.#judgedKeys }), keyFiles },
      pause: (durationMs) => life.wait(durationMs),
      lvm: {
        read: async (vgs) => ({
          groups: vgs.map((vg) => ({
            ...{ vg, sizeBytes: this.#group.extents * EXTENT_BYTES },
            ...{ freeBytes: this.#group.freeBytes, extentBytes: EXTENT_BYTES },
            shared: false,
          })),
          volumes: await volumes(vgs),
        }),
        volumes,
        create: (vg, lv, sizeBytes, tags) =>
          command('create', lv, lv, () =>
            sizeBytes > this.#group.freeBytes ? Promise.reject(full()) : lvm.create(vg, lv, sizeBytes, tags),
          ),
        createThin: (vg, pool, lv, sizeBytes, tags) =>
          command('create', lv, lv, () =>
            this.#orPoolFull(lv, () => lvm.createThin(vg, pool, lv, sizeBytes, tags)),
          ),
        snapshot: (vg, origin, lv, tags) =>
          command('create', lv, lv, () => this.#orPoolFull(lv, () => lvm.snapshot(vg, origin, lv, tags))),
        extend: (vg, lv, sizeBytes) =>
          command('extend', lv, lv, () => this.#orPoolFull(lv, () => lvm.extend(vg, lv, sizeBytes))),
        deactivate: (vg, lv) =>
          command('deactivate', lv, lv, () =>
            this.#group.isOpen(model.get(lv))
              ? Promise.reject(failed('deactivate', lv))
              : lvm.deactivate(vg, lv),
          ),
        makeReadOnly: (vg, lv) => command('makeReadOnly', lv, lv, () => lvm.makeReadOnly(vg, lv)),
        swapTags: (vg, lv, remove, add, unskip) =>
          command('swapTags', lv, lv, () => lvm.swapTags(vg, lv, remove, add, unskip)),
        rename: (vg, from, to) => command('rename', to, from, () => lvm.rename(vg, from, to)),
        activate: (vg, lv) => command('activate', lv, lv, () => lvm.activate(vg, lv)),
        remove: (_vg, lv, tags) =>
          command('remove', lv, lv, async () => {
            const { tags: found } = model.get(lv);
            if (!tags.every((tag) => found.includes(tag))) throw failed('remove', lv);
            this.#judge(() => {
              this.#group.remove(lv, 'us');
            });
            await Promise.resolve();
          }),
      },
      devices: {
        settle: () => life.step('udevadm settle'),
        giveToService: (row) => command('giveToService', row.lv, row.lv, () => devices.giveToService(row)),
        takeBack: (row) => command('takeBack', row.lv, row.lv, () => devices.takeBack(row)),
        numbersOf: async (row) => {
          await life.step('the node looked at');
          return devices.numbersOf(row);
        },
        isTakenBack: (row) => asCommand(async () => devices.isTakenBack(row)),
        whyNotEmpty: async (row) => {
          await life.step('blkid');
          if (model.find(row.lv)?.uuid !== row.uuid) throw failed('blkid', row.lv);
          return this.#group.whyNotEmpty(row.lv);
        },
      },
    };
  }

  /** Without metadata a thin pool makes and grows nothing. */
  #orPoolFull(lv: string, effect: () => Promise<void>): Promise<void> {
    return this.#group.thinFault === 'metadata' ? Promise.reject(failed('a thin pool', lv)) : effect();
  }

  #judge(look: () => void): void {
    try {
      look();
    } catch (error) {
      if (error instanceof Violation) this.#onViolation(error);
      throw error;
    }
  }
}

function plain({ vg, fillId, target, domainUuid, encryption }: PrivateVolume): PrivateVolume {
  return { vg, fillId, target, domainUuid, encryption };
}

function unavailable(what: string): ProvisionError {
  return new ProvisionError({ code: 'HELPER_UNAVAILABLE', message: `The LVM helper ${what}.` });
}

function failed(command: string, lv: string): ProvisionError {
  return new ProvisionError({ code: 'HELPER_FAILED', message: `${command} failed for ${VG}/${lv}.` });
}

function full(): ProvisionError {
  return new ProvisionError({ code: 'VG_FULL', message: `${VG} is full.` });
}

/** `Volumes` over the root helper's socket: one connection, one request line and one answer line a call. */
import { createConnection } from 'node:net';
import type { Socket } from 'node:net';
import { ProvisionError } from '../core/errors.ts';
import type { HelperRequest, HelperResult, HelperVerb } from '../core/helper-protocol.ts';
import { HELPER_RESULTS, HelperResponse, RESPONSE_BYTES_MAX } from '../core/helper-protocol.ts';
import type { Blankness, PrivateVolume, Volumes } from '../provision/ports.ts';
import type { GoldenReference, GoldenSeal, NewGoldenSeal, ReceivingMark, Seal } from '../core/volume.ts';

export const HELPER_SOCKET = '/run/libvirt-volume-provisioner-helper.socket';

/** Longer than the helper needs for its own time limits on one request with two before it. */
const ANSWER_TIME_MAX_MS = 300_000;

const HINT =
  'See systemctl status libvirt-volume-provisioner-helper.socket and journalctl -u libvirt-volume-provisioner-helper.';

export class LvmHelper implements Volumes {
  readonly #socketPath: string;
  readonly #answerTimeMaxMs: number;
  /** The helper works on one request at a time: more connections would only wait there. */
  #last: Promise<unknown> = Promise.resolve();
  /** A reading that has been asked for and has not begun: whoever asks now may share it. */
  #nextList: Promise<HelperResult<'list'>> | undefined;

  constructor(socketPath = HELPER_SOCKET, answerTimeMaxMs = ANSWER_TIME_MAX_MS) {
    this.#socketPath = socketPath;
    this.#answerTimeMaxMs = answerTimeMaxMs;
  }

  list(): Promise<HelperResult<'list'>> {
    this.#nextList ??= this.#ask('list', { verb: 'list' }, () => {
      this.#nextList = undefined;
    });
    return this.#nextList;
  }

  examine(vg: string, lv: string): Promise<Blankness> {
    return this.#ask('examine', { verb: 'examine', vg, lv });
  }

  create(volume: PrivateVolume, sizeBytes: number, thinPool?: string): Promise<HelperResult<'create'>> {
    return this.#ask('create', {
      ...{ verb: 'create', volume: plain(volume), sizeBytes },
      ...(thinPool === undefined ? {} : { thinPool }),
    });
  }

  clone(
    volume: PrivateVolume,
    { fillId, sha256, format }: GoldenReference,
    sizeBytes: number,
  ): Promise<HelperResult<'clone'>> {
    const golden = { fillId, sha256, format };
    return this.#ask('clone', { verb: 'clone', volume: plain(volume), golden, sizeBytes });
  }

  adopt(volume: PrivateVolume): Promise<HelperResult<'adopt'>> {
    return this.#ask('adopt', { verb: 'adopt', volume: plain(volume) });
  }

  async publish(volume: PrivateVolume, seal: Seal | ReceivingMark | NewGoldenSeal): Promise<void> {
    await this.#ask('publish', { verb: 'publish', volume: plain(volume), seal });
  }

  async claim(vg: string, seal: Seal, domainUuid: string): Promise<void> {
    await this.#ask('claim', { verb: 'claim', vg, seal, domainUuid });
  }

  async retire(vg: string, seal: Seal): Promise<void> {
    await this.#ask('retire', { verb: 'retire', vg, seal });
  }

  async restore(vg: string, seal: Seal): Promise<void> {
    await this.#ask('restore', { verb: 'restore', vg, seal });
  }

  async arrive(vg: string, seal: Seal): Promise<void> {
    await this.#ask('arrive', { verb: 'arrive', vg, seal });
  }

  async recall(vg: string, fillId: string): Promise<void> {
    await this.#ask('recall', { verb: 'recall', vg, fillId });
  }

  async discard(volume: Pick<PrivateVolume, 'vg' | 'fillId'>): Promise<void> {
    await this.#ask('discard', { verb: 'discard', vg: volume.vg, fillId: volume.fillId });
  }

  async drop(vg: string, seal: Seal | GoldenSeal): Promise<void> {
    await this.#ask('drop', { verb: 'drop', vg, seal });
  }

  async #ask<Verb extends HelperVerb>(
    verb: Verb,
    request: HelperRequest,
    onBegin: () => void = () => undefined,
  ): Promise<HelperResult<Verb>> {
    const answer = this.#last.then(() => {
      onBegin();
      return exchange(this.#socketPath, JSON.stringify(request), verb, this.#answerTimeMaxMs);
    });
    this.#last = answer.catch(() => undefined);
    const line = await answer;
    const response = HelperResponse.safeParse(parseJson(line));
    if (response.success && !response.data.ok) throw new ProvisionError(response.data.problem);
    if (response.success && response.data.ok) {
      const result = HELPER_RESULTS[verb].safeParse(response.data.result);
      // The compiler does not see that the schema under this verb is the one of its result.
      if (result.success) return result.data as HelperResult<Verb>;
    }
    throw new ProvisionError({
      code: 'HELPER_FAILED',
      message: `The LVM helper answered ${verb} with something unexpected: ${line.slice(0, 200)}`,
      hint: 'Daemon and helper must be of one version: systemctl stop libvirt-volume-provisioner-helper.service.',
    });
  }
}

/** The helper refuses fields it does not know, and a caller's record may well have more. */
function plain({ vg, fillId, target, domainUuid }: PrivateVolume): PrivateVolume {
  return { vg, fillId, target, domainUuid };
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** Sends one line and resolves with the line that answers it. */
function exchange(path: string, request: string, verb: string, timeMaxMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket: Socket = createConnection(path);
    const chunks: Buffer[] = [];
    let lengthBytes = 0;
    const fail = (
      code: 'HELPER_UNAVAILABLE' | 'HELPER_FAILED' | 'TIMEOUT',
      what: string,
      cause?: unknown,
    ): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(
        new ProvisionError({
          code,
          message: `The LVM helper at ${path} ${what} (${verb}).`,
          hint: HINT,
          cause,
        }),
      );
    };
    const timer = setTimeout(() => {
      fail('TIMEOUT', `has not answered within ${timeMaxMs / 1000} s`);
    }, timeMaxMs);
    socket.on('connect', () => socket.write(`${request}\n`));
    socket.on('error', (error) => {
      fail('HELPER_UNAVAILABLE', `cannot be reached: ${error.message}`, error);
    });
    socket.on('data', (chunk) => {
      chunks.push(Buffer.from(chunk));
      lengthBytes += chunk.length;
      if (chunk.at(-1) === 0x0a) {
        clearTimeout(timer);
        socket.destroy();
        resolve(Buffer.concat(chunks).toString('utf8'));
      } else if (lengthBytes > RESPONSE_BYTES_MAX) {
        fail('HELPER_FAILED', `answered with more than ${RESPONSE_BYTES_MAX} bytes`);
      }
    });
    socket.on('end', () => {
      fail('HELPER_UNAVAILABLE', 'hung up without an answer');
    });
  });
}

/**
 * Keys out of Barbican, read with this host's own identity, an application credential of Keystone. Only the token is
 * kept; a key is asked for each time, so that a grant that was withdrawn counts from the next reading on.
 * https://docs.openstack.org/barbican/latest/api/reference/secrets.html
 */
import { ProvisionError } from '../../core/errors.ts';
import type { KeyReference } from '../../core/key/key-reference.ts';
import { formatKeyReference, isKeyShaped, KEY_BYTES_MAX } from '../../core/key/key-reference.ts';
import type { BarbicanSettings } from '../../core/settings/key-settings.ts';
import type { Keys, VolumeKey } from '../../provision/ports/keys.ts';
import { volumeKey } from './bytes.ts';
import { DeadlineOver, withinTime } from './deadline.ts';
import { keyNotFound, keyUnusable, nameOfServer, tooLong, unexpected, unreachable } from './errors.ts';
import type { KeyToken } from './keystone.ts';
import type { KeyAnswer } from './requests.ts';
import { KeyRequests } from './requests.ts';
import { KeyTokens } from './tokens.ts';

/** A guest's start may wait for it, and libvirtd with it. */
const READ_MAX_MS = 2_500;
/** Barbican gives a secret of any type as the bytes that were stored. */
const PAYLOAD_TYPE = 'application/octet-stream';
/** What an error says may be longer than a key. */
const PAYLOAD_BYTES_MAX = 16 * KEY_BYTES_MAX;

export interface BarbicanKeysOptions {
  /** Of one reading, tokens included, in ms. */
  readonly limitMs?: number | undefined;
  readonly nowMs?: (() => number) | undefined;
}

export class BarbicanKeys implements Keys {
  readonly #settings: BarbicanSettings;
  readonly #limitMs: number;
  readonly #requests: KeyRequests;
  readonly #tokens: KeyTokens;

  constructor(settings: BarbicanSettings, { limitMs = READ_MAX_MS, nowMs }: BarbicanKeysOptions = {}) {
    const { authUrl, applicationCredentialId: id, applicationCredentialSecret: secret } = settings;
    this.#settings = settings;
    this.#limitMs = limitMs;
    this.#requests = new KeyRequests(settings);
    this.#tokens = new KeyTokens({
      ...{ requests: this.#requests, authUrl, nowMs },
      // Less, so that the one who does not answer is named.
      limitMs: limitMs * 0.8,
      identity: { kind: 'application-credential', id, secret },
    });
  }

  async read(reference: KeyReference, signal: AbortSignal): Promise<VolumeKey> {
    try {
      return await withinTime(this.#limitMs, signal, async (within) => this.#read(reference, within));
    } catch (error) {
      // What the caller has ended is no failure of the server.
      signal.throwIfAborted();
      throw error instanceof DeadlineOver ? unreachable(error, this.#settings.url) : error;
    }
  }

  async #read(reference: KeyReference, signal: AbortSignal): Promise<VolumeKey> {
    let token = await this.#tokens.get(signal);
    let answer = await this.#ask(reference, token, signal);
    if (answer.status === 401) {
      // Once: a token that is new was not refused for its age.
      answer.wipe();
      this.#tokens.forget(token);
      token = await this.#tokens.get(signal);
      answer = await this.#ask(reference, token, signal);
    }
    try {
      return this.#keyOf(reference, answer, token);
    } catch (error) {
      answer.wipe();
      throw error;
    }
  }

  async #ask(reference: KeyReference, token: KeyToken, signal: AbortSignal): Promise<KeyAnswer> {
    const { url } = this.#settings;
    try {
      return await this.#requests.ask({
        method: 'GET',
        url: new URL(`${url.href}/secrets/${reference.id}/payload`),
        headers: { 'x-auth-token': token.value.reveal(), accept: PAYLOAD_TYPE },
        bytesMax: PAYLOAD_BYTES_MAX,
        signal,
      });
    } catch (error) {
      throw unreachable(tooLong(error, reference), url);
    }
  }

  /** Its memory is that of the answer. */
  #keyOf(reference: KeyReference, { status, headers, body }: KeyAnswer, { userId }: KeyToken): VolumeKey {
    const { url } = this.#settings;
    if (status === 401) throw tokenRefused(url);
    if (status === 403) throw notGranted(reference, url, userId);
    if (status === 404) throw keyNotFound(reference, url);
    if (status !== 200) throw unexpected(status, url);
    const [type = ''] = (headers['content-type'] ?? '').split(';');
    if (type.trim() !== PAYLOAD_TYPE || headers['content-encoding'] !== undefined) {
      throw keyUnusable(reference, `${nameOfServer(url)} gives something else than bytes`);
    }
    if (!isKeyShaped(body)) throw keyUnusable(reference, 'what is stored is not of that form');
    return volumeKey(body);
  }
}

function tokenRefused(url: URL): ProvisionError {
  return new ProvisionError({
    code: 'KEY_DENIED',
    message: `The key server ${nameOfServer(url)} does not accept the identity of this host, though Keystone does.`,
    hint: 'See that keys.barbican.url and auth_url are of the same cloud, and at the log of Barbican.',
  });
}

function notGranted(reference: KeyReference, url: URL, userId: string): ProvisionError {
  const key = formatKeyReference(reference);
  return new ProvisionError({
    code: 'KEY_DENIED',
    message: `The key server ${nameOfServer(url)} does not let this host (user ${userId}) read ${key}.`,
    hint: `If this host is to run the guest, whoever made the key grants it: lvp key grant ${key} ${userId}`,
  });
}

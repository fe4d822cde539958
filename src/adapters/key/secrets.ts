/**
 * Barbican for those who make keys and say who may read them, with credentials of their own. A key that is made here is
 * never readable by anybody who was not named: its place is made first, then closed, and only then filled.
 */
import { z } from 'zod';
import { ProvisionError } from '../../core/errors.ts';
import type { KeyReference } from '../../core/key/key-reference.ts';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import type { KeyServerSettings } from '../../core/settings/key-settings.ts';
import { withinTime } from './deadline.ts';
import { keyNotFound, nameOfServer, unexpected, unreachable, unreadable } from './errors.ts';
import type { KeyIdentity } from './keystone.ts';
import type { KeyAnswer, KeyRequest } from './requests.ts';
import { KeyRequests } from './requests.ts';
import { KeyTokens } from './tokens.ts';

const REQUEST_MAX_MS = 30_000;
const LIST_STEP = 100;
/** Of those that are shown. */
const LIST_MAX = 2_000;
/** What can be no passphrase. */
const OTHER_TYPES = ['certificate', 'private', 'public'];

const Secret = z.object({
  name: z.string().nullable(),
  secret_ref: z.string(),
  secret_type: z.string(),
  created: z.string(),
  creator_id: z.string().nullable().optional(),
});
const Secrets = z.object({ secrets: z.array(Secret), total: z.number() });
const Created = z.object({ secret_ref: z.string() });
const Acl = z.object({
  read: z.object({ users: z.array(z.string()).default([]), 'project-access': z.boolean().default(true) }),
});

export interface KnownKey {
  readonly reference: KeyReference;
  readonly name: string | undefined;
  /** As Barbican writes it, in UTC. */
  readonly created: string;
  readonly creatorId: string | undefined;
}

export interface KeyReaders {
  /** Ids of Keystone's users. */
  readonly users: readonly string[];
  /** Whether every member of the key's project may read it, too. */
  readonly projectAccess: boolean;
}

type Asked = Pick<KeyRequest, 'method' | 'body'> & { readonly type?: string };

export class KeySecrets {
  readonly #url: URL;
  readonly #requests: KeyRequests;
  readonly #tokens: KeyTokens;

  constructor(settings: KeyServerSettings, identity: KeyIdentity) {
    this.#url = settings.url;
    this.#requests = new KeyRequests(settings);
    const { authUrl } = settings;
    this.#tokens = new KeyTokens({
      ...{ requests: this.#requests, authUrl, identity, limitMs: REQUEST_MAX_MS },
    });
  }

  /** The bytes are not wiped here. If it fails, nothing is left there, or the error says what. */
  async create(name: string, bytes: Uint8Array, readers: readonly string[]): Promise<KeyReference> {
    const place = await this.#json(Created, '/secrets', {
      ...{ method: 'POST', type: 'application/json' },
      body: Buffer.from(JSON.stringify({ name, secret_type: 'passphrase' })),
    });
    const reference = this.#referenceOf(place.secret_ref);
    try {
      await this.setReaders(reference, { users: readers, projectAccess: false });
      await this.#none(pathOf(reference), { method: 'PUT', body: bytes, type: 'application/octet-stream' });
    } catch (error) {
      throw await this.#takenBack(reference, error);
    }
    return reference;
  }

  async remove(reference: KeyReference): Promise<void> {
    await this.#none(pathOf(reference), { method: 'DELETE' }, reference);
  }

  async readersOf(reference: KeyReference): Promise<KeyReaders> {
    const { read } = await this.#json(Acl, `${pathOf(reference)}/acl`, { method: 'GET' }, reference);
    return { users: read.users, projectAccess: read['project-access'] };
  }

  /** In the place of those before. */
  async setReaders(reference: KeyReference, { users, projectAccess }: KeyReaders): Promise<void> {
    const body = Buffer.from(JSON.stringify({ read: { users, 'project-access': projectAccess } }));
    const asked = { method: 'PUT', body, type: 'application/json' } as const;
    (await this.#ask(`${pathOf(reference)}/acl`, asked, reference)).wipe();
  }

  async show(reference: KeyReference): Promise<KnownKey> {
    return this.#known(await this.#json(Secret, pathOf(reference), { method: 'GET' }, reference));
  }

  /** Of the project, those that can be keys; the oldest first. */
  async list(): Promise<readonly KnownKey[]> {
    const found: KnownKey[] = [];
    for (let offset = 0; offset < LIST_MAX; offset += LIST_STEP) {
      const path = `/secrets?limit=${LIST_STEP}&offset=${offset}&sort=created`;
      const { secrets, total } = await this.#json(Secrets, path, { method: 'GET' });
      const usable = secrets.filter(({ secret_type: type }) => !OTHER_TYPES.includes(type));
      found.push(...usable.map((secret) => this.#known(secret)));
      if (secrets.length === 0 || offset + LIST_STEP >= total) break;
    }
    return found;
  }

  #known({ name, secret_ref: ref, created, creator_id: creatorId }: z.infer<typeof Secret>): KnownKey {
    return {
      reference: this.#referenceOf(ref),
      name: name ?? undefined,
      created,
      creatorId: creatorId ?? undefined,
    };
  }

  /** The name that Barbican gives itself in it need not be the one by which it is reached. */
  #referenceOf(ref: string): KeyReference {
    const [, id] = /\/secrets\/([0-9a-f-]{36})$/.exec(ref) ?? [];
    if (id === undefined) throw unreadable('one of Barbican', this.#url);
    return { provider: 'barbican', id };
  }

  async #takenBack(reference: KeyReference, error: unknown): Promise<unknown> {
    try {
      await this.remove(reference);
      return error;
    } catch {
      return new ProvisionError({
        code: 'KEY_SERVER_UNREACHABLE',
        message: `The key was not made: ${error instanceof Error ? error.message : String(error)}`,
        hint: `What was begun could not be taken back: delete ${formatKeyReference(reference)} by hand (openstack secret delete). It was never used.`,
        cause: error,
      });
    }
  }

  async #json<T>(schema: z.ZodType<T>, path: string, asked: Asked, about?: KeyReference): Promise<T> {
    const answer = await this.#ask(path, asked, about);
    try {
      return schema.parse(JSON.parse(answer.body.toString('utf8')));
    } catch (error) {
      throw unreadable('one of Barbican', this.#url, error);
    } finally {
      answer.wipe();
    }
  }

  async #none(path: string, asked: Asked, about?: KeyReference): Promise<void> {
    (await this.#ask(path, asked, about)).wipe();
  }

  /** An answer that is as it should be. */
  async #ask(path: string, asked: Asked, about?: KeyReference): Promise<KeyAnswer> {
    const answer = await withinTime(REQUEST_MAX_MS, new AbortController().signal, async (signal) => {
      const token = await this.#tokens.get(signal);
      const { method, body, type } = asked;
      return this.#requests.ask({
        ...{ method, body, signal, url: new URL(`${this.#url.href}${path}`) },
        headers: {
          'x-auth-token': token.value.reveal(),
          // Any other word would be taken for the wish to have the key itself.
          accept: 'application/json',
          ...(type === undefined ? {} : { 'content-type': type }),
        },
      });
    }).catch((error: unknown) => {
      throw unreachable(error, this.#url);
    });
    if (answer.status >= 200 && answer.status < 300) return answer;
    answer.wipe();
    throw this.#refusal(answer.status, about);
  }

  #refusal(status: number, about: KeyReference | undefined): ProvisionError {
    if (status === 404 && about !== undefined) return keyNotFound(about, this.#url);
    if (status !== 401 && status !== 403) return unexpected(status, this.#url);
    const what = about === undefined ? 'this' : `this to ${formatKeyReference(about)}`;
    return new ProvisionError({
      code: 'KEY_DENIED',
      message: `The key server ${nameOfServer(this.#url)} does not let you do ${what} (status ${status}).`,
      hint: 'Keys are made by members of a project, and changed by whoever made them or an administrator of the project.',
    });
  }
}

function pathOf({ id }: KeyReference): string {
  return `/secrets/${id}`;
}

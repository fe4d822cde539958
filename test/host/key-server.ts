/**
 * A real key server in a test host: Keystone says who asks, Barbican keeps the keys, both over TLS only. What asks it
 * here does so from inside of the host, as the provisioner does.
 */
import { randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import type { Host } from './host.ts';

/** Where it is: by this name each host that knows it finds it, with this authority it is verified. */
export const KEYSTONE_URL = 'https://keys.test:5000/v3';
export const BARBICAN_URL = 'https://keys.test:9311';
export const KEY_SERVER_CA_FILE = '/etc/key-server/ca.pem';

/** A user of Keystone, and its application credential: all that it needs for a token. */
export interface Identity {
  /** What a key's list of readers names. */
  readonly userId: string;
  readonly projectId: string;
  /** Of the application credential. */
  readonly id: string;
  readonly secret: string;
}

export interface Answer {
  readonly status: number;
  /** Names in small letters. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

export interface Key {
  /** `https://keys.test:9311/v1/secrets/<uuid>` */
  readonly ref: string;
  readonly uuid: string;
  /** What Barbican gives out: base64 text of 64 random bytes. */
  readonly payload: string;
}

type Service = 'keystone' | 'barbican';
type Certificate = 'right' | 'other-authority' | 'other-name' | 'expired';

export class KeyServer {
  readonly host: Host;
  /** Makes keys and grants them, and cannot read one without a grant. */
  readonly management: Identity;
  /** Administrates the project of the keys: may read all of them. */
  readonly operator: Identity;
  readonly #readers: ReadonlyMap<string, Identity>;
  readonly #tokens = new Map<Identity, string>();

  private constructor(host: Host, identities: Readonly<Record<string, Identity>>) {
    const { management, operator, ...readers } = identities;
    this.host = host;
    this.management = management ?? expect.fail('no identity for management');
    this.operator = operator ?? expect.fail('no identity for the operator');
    this.#readers = new Map(Object.entries(readers));
  }

  /** Starts it in a host that runs, with identities of these names that may read what they are granted. */
  static async start(host: Host, readers: readonly string[] = ['hosta', 'hostb']): Promise<KeyServer> {
    await host.keyServer('up');
    const { stdout } = await host.sh(`/mnt/seed/key-server/make-identities ${readers.join(' ')}`);
    return new KeyServer(host, JSON.parse(stdout) as Record<string, Identity>);
  }

  reader(name: string): Identity {
    return this.#readers.get(name) ?? expect.fail(`no identity was made for ${name}`);
  }

  /** Lets another host on the same network find it, and verify it by the same file. */
  async introduceTo(other: Host): Promise<void> {
    const { stdout: ca } = await this.host.sh(`cat ${KEY_SERVER_CA_FILE}`);
    await other.sh(
      `set -e
       install -D -m 644 /dev/stdin ${KEY_SERVER_CA_FILE}
       sed -n 's/ ${this.host.name}$/ keys.test/p' /etc/hosts >/tmp/keys.test
       test -s /tmp/keys.test && cat /tmp/keys.test >>/etc/hosts`,
      { input: `${ca}\n` },
    );
  }

  /**
   * Has the provisioner of a host, which knows the server, read its keys with this identity, and says what `begin` says,
   * with which that counts.
   */
  async serve(
    host: Host,
    identity: Identity,
    begin = 'systemctl restart libvirt-volume-provisioner',
  ): Promise<string> {
    const etc = '/etc/libvirt-volume-provisioner';
    const { stdout } = await host.sh(
      `set -e
       (umask 077; cat >${etc}/credentials/barbican-application-credential-secret)
       install -m 644 ${KEY_SERVER_CA_FILE} ${etc}/barbican-ca.pem
       sed -i '/^keys:/,$d' ${etc}/config.yaml
       cat >>${etc}/config.yaml <<YAML
keys:
  recheck: 10s
  barbican:
    url: ${BARBICAN_URL}
    auth_url: ${KEYSTONE_URL}
    ca_file: ${etc}/barbican-ca.pem
    application_credential_id: ${identity.id}
YAML
       ${begin}`,
      { input: identity.secret },
    );
    return stdout;
  }

  /** What somebody's shell has in its environment who works with `lvp key`. */
  environmentOf({ id, secret }: Identity): string {
    return `export OS_AUTH_URL=${KEYSTONE_URL} OS_CACERT=${KEY_SERVER_CA_FILE} OS_APPLICATION_CREDENTIAL_ID=${id} OS_APPLICATION_CREDENTIAL_SECRET=${secret}`;
  }

  /** A key of the project, which nobody can read yet but its operator. */
  async createKey(name: string, payload = randomBytes(64).toString('base64')): Promise<Key> {
    const answer = await this.request(this.management, 'POST', `${BARBICAN_URL}/v1/secrets`, {
      name,
      payload,
      payload_content_type: 'text/plain',
      secret_type: 'passphrase',
    });
    expect(answer.status).toBe(201);
    const { secret_ref: ref } = JSON.parse(answer.body) as { secret_ref: string };
    const key = { ref, uuid: ref.split('/').at(-1) ?? '', payload };
    await this.grant(key);
    return key;
  }

  /** From now on these may read it, and nobody else; without one, nobody. */
  async grant(key: Key, ...identities: readonly Identity[]): Promise<void> {
    const answer = await this.request(this.management, 'PUT', `${key.ref}/acl`, {
      read: { users: identities.map(({ userId }) => userId), 'project-access': false },
    });
    expect(answer.status).toBe(200);
  }

  async revoke(key: Key): Promise<void> {
    await this.grant(key);
  }

  async deleteKey(key: Key): Promise<void> {
    expect((await this.request(this.management, 'DELETE', key.ref)).status).toBe(204);
  }

  /** What its reader gets who asks for the key itself. */
  async read(key: Key, identity: Identity): Promise<Answer> {
    return this.request(identity, 'GET', `${key.ref}/payload`);
  }

  /** From now on Barbican gives out the bytes of `other` when it is asked for `key`. */
  async swap(key: Key, other: Key): Promise<void> {
    const bytesOf = ({ uuid }: Key) => `(SELECT cypher_text FROM encrypted_data WHERE secret_id = '${uuid}')`;
    await this.host.sh(
      `sqlite3 /var/lib/key-server/barbican.db "UPDATE encrypted_data SET cypher_text = ${bytesOf(other)}
       WHERE secret_id = '${key.uuid}'"`,
    );
  }

  /** One request in somebody's name, with a token of their application credential. */
  async request(identity: Identity, method: string, url: string, body?: unknown): Promise<Answer> {
    return this.ask(method, url, { 'X-Auth-Token': await this.tokenOf(identity) }, body);
  }

  /** Keystone's answer to who brings this application credential. */
  async authenticate({ id, secret }: Pick<Identity, 'id' | 'secret'>): Promise<Answer> {
    const identity = { methods: ['application_credential'], application_credential: { id, secret } };
    return this.ask('POST', `${KEYSTONE_URL}/auth/tokens`, {}, { auth: { identity } });
  }

  /** The one that is used for all requests in its name. */
  async tokenOf(identity: Identity): Promise<string> {
    const known = this.#tokens.get(identity);
    if (known !== undefined) return known;
    const answer = await this.authenticate(identity);
    const token = answer.headers.get('x-subject-token') ?? expect.fail(`no token: ${answer.body}`);
    this.#tokens.set(identity, token);
    return token;
  }

  /** One request, of which all that is secret goes to curl on its standard input. */
  async ask(
    method: string,
    url: string,
    headers: Readonly<Record<string, string>>,
    body?: unknown,
  ): Promise<Answer> {
    const all = { ...headers, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) };
    const options = [
      `url = ${JSON.stringify(url)}`,
      `request = ${method}`,
      ...Object.entries(all).map(([name, value]) => `header = ${JSON.stringify(`${name}: ${value}`)}`),
      ...(body === undefined ? [] : [`data = ${JSON.stringify(JSON.stringify(body))}`]),
    ];
    const { stdout } = await this.host.sh(
      `curl --silent --show-error --include --cacert ${KEY_SERVER_CA_FILE} --config -`,
      { input: options.join('\n') },
    );
    return parseAnswer(stdout);
  }

  /** Without it, nothing answers on its port. */
  async stop(service: Service): Promise<void> {
    await this.host.sh(`systemctl stop ${service}`);
  }

  /** Starts what was stopped; after a boot of the host, both. */
  async restart(): Promise<void> {
    await this.host.keyServer('up');
  }

  /** It takes connections and says nothing, until it is thawed: then it answers those who still wait. */
  async freeze(service: Service): Promise<void> {
    await this.host.sh(`systemctl kill --signal=STOP ${service}`);
  }

  async thaw(service: Service): Promise<void> {
    await this.host.sh(`systemctl kill --signal=CONT ${service}`);
  }

  /** Of both services, for every connection from now on. */
  async useCertificate(kind: Certificate): Promise<void> {
    await this.host.sh(`/mnt/seed/key-server/certificate ${kind}`);
  }

  /** No token is worth anything any more, as if all had expired. */
  async forgetTokens(): Promise<void> {
    this.#tokens.clear();
    await this.host.sh(`/mnt/seed/key-server/forget-tokens`);
  }

  /** Requests that were answered, a line each: who asked, `"METHOD /path HTTP/1.1"`, status. */
  async requests(service: Service = 'barbican'): Promise<string[]> {
    const { stdout } = await this.host.sh(
      `journalctl --unit ${service} --output cat --grep 'HTTP/1.1"' | cat`,
    );
    return stdout.split('\n').filter((line) => line !== '');
  }
}

function parseAnswer(text: string): Answer {
  const end = text.search(/\r?\n\r?\n/);
  const [first = '', ...lines] = text.slice(0, end).split(/\r?\n/);
  const headers = lines.map((line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
  });
  const body = text.slice(end).replace(/^\r?\n\r?\n/, '');
  return { status: Number(first.split(' ')[1]), headers: new Map(headers), body };
}

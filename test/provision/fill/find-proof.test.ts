/** Which proof is wanted of which image, where it is looked for, and what the bytes must then be. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { MinisignKey } from '../../../src/core/policy/minisign.ts';
import { parseMinisignKey } from '../../../src/core/policy/minisign.ts';
import type { ImageReference, VolumeRequest } from '../../../src/core/request.ts';
import { imageName } from '../../../src/core/request.ts';
import type { ProofPolicy } from '../../../src/provision/fill/find-proof.ts';
import { findProof } from '../../../src/provision/fill/find-proof.ts';
import { readLayout, streamImage } from '../../../src/provision/stream/stream-image.ts';
import { FakeClock, FakeDevice, FakeImages, IMAGE } from '../fake-images.ts';

const folder = mkdtempSync(join(tmpdir(), 'proof-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const CONTENT = Buffer.alloc(70_000, 'image');
const digest = (algorithm: string) => createHash(algorithm).update(CONTENT).digest('hex');

/** Objects beside the image, by `BUCKET/KEY`; remembers what was asked for. */
class Store extends FakeImages {
  readonly asked: string[] = [];
  readonly texts: Readonly<Record<string, string>>;

  constructor(texts: Readonly<Record<string, string>> = {}) {
    super(CONTENT);
    this.texts = texts;
  }

  override readText(image?: ImageReference): Promise<undefined> {
    const name = image === undefined ? '' : imageName(image);
    this.asked.push(name);
    return Promise.resolve(this.texts[name] as undefined);
  }
}

function request(more: Partial<VolumeRequest> = {}): VolumeRequest {
  return { target: 'vda', image: IMAGE, format: 'raw', generation: 1, ...more };
}

const NAME = 'images/disk.img';
const strict: ProofPolicy = { requireDigest: true };

describe('a digest', () => {
  it('from the annotation needs no other object', async () => {
    const store = new Store();
    const stated = { sha256: digest('sha256'), sha512: digest('sha512') };
    expect(await findProof(store, strict, request(stated))).toEqual(stated);
    expect(store.asked).toEqual([]);
  });

  const line = (algorithm: string) => `${digest(algorithm)}  disk.img\n`;
  const other = (algorithm: string) => `${digest(algorithm)}  other.img\n`;
  it.each([
    [{ [`${NAME}.sha256`]: digest('sha256') }, 'sha256'],
    [{ [`${NAME}.sha256`]: line('sha256') }, 'sha256'],
    [{ [`${NAME}.sha512`]: digest('sha512') }, 'sha512'],
    [{ [`${NAME}.sha512`]: `SHA512 (disk.img) = ${digest('sha512')}\n` }, 'sha512'],
    [{ 'images/SHA256SUMS': other('sha256') + line('sha256') }, 'sha256'],
    [{ 'images/SHA512SUMS': line('sha512') }, 'sha512'],
    [{ 'images/SHA256SUMS': other('sha256'), 'images/SHA512SUMS': line('sha512') }, 'sha512'],
  ] as const)('is found in %j', async (texts, algorithm) => {
    const proof = await findProof(new Store(texts), strict, request());
    expect(proof).toEqual({ [algorithm]: digest(algorithm) });
  });

  it.each([
    [{}, 'neither sha256 nor sha512'],
    [{ 'images/SHA256SUMS': other('sha256') }, 'neither sha256 nor sha512'],
    [{ 'images/SHA256SUMS': digest('sha256') }, 'not of sha256sum'],
    [{ [`${NAME}.sha256`]: digest('sha512') }, 'not of sha256sum'],
    [{ [`${NAME}.sha512`]: line('sha256') }, 'not of sha512sum'],
    [{ [`${NAME}.sha256`]: `SHA512 (disk.img) = ${digest('sha256')}` }, 'not of sha256sum'],
    [{ [`${NAME}.sha256`]: '', [`${NAME}.sha512`]: line('sha512') }, 'it is empty'],
  ] as const)('is missing in %j', async (texts, says) => {
    await expect(findProof(new Store(texts), strict, request())).rejects.toMatchObject({
      code: 'DIGEST_MISSING',
      message: expect.stringContaining(says) as string,
    });
  });

  it('may be missing where the host allows it', async () => {
    expect(await findProof(new Store(), { requireDigest: false }, request())).toEqual({});
  });
});

function minisign(...args: string[]): void {
  execFileSync('minisign', args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
}
minisign('-G', '-W', '-p', 'key.pub', '-s', 'key.key');
const key = parseMinisignKey(readFileSync(join(folder, 'key.pub'), 'utf8').split('\n')[1] ?? '');
const minisignKeys: readonly MinisignKey[] = key === undefined ? [] : [key];

function signed(content: Uint8Array): Record<string, string> {
  writeFileSync(join(folder, 'disk.img'), content);
  minisign('-S', '-s', 'key.key', '-m', 'disk.img');
  return { [`${NAME}.minisig`]: readFileSync(join(folder, 'disk.img.minisig'), 'utf8') };
}

describe('a signature', () => {
  const wanting = (...prefixes: string[]): ProofPolicy => ({
    ...{ requireDigest: true, minisignKeys },
    rules: prefixes.map((prefix) => ({ prefix, require: 'signature' })),
  });

  async function fill(store: Store, policy: ProofPolicy) {
    const proof = await findProof(store, policy, request());
    const { signal } = new AbortController();
    const source = { images: store, object: store.object(), clock: new FakeClock(), signal };
    const layout = await readLayout(source, 'raw', 2 ** 40);
    const device = new FakeDevice(CONTENT.length);
    await streamImage({ ...source, layout, device, proof });
  }

  it('takes the place of a digest where it is wanted', async () => {
    await fill(new Store(signed(CONTENT)), wanting('images/'));
  });

  it('of other content is noticed before the volume is published', async () => {
    await expect(fill(new Store(signed(Buffer.from('old'))), wanting('images/'))).rejects.toMatchObject({
      code: 'SIGNATURE_INVALID',
      message: expect.stringContaining('is not the one that was signed') as string,
    });
  });

  it('is not replaced by a digest', async () => {
    const store = new Store({ [`${NAME}.sha256`]: digest('sha256') });
    const stated = request({ sha256: digest('sha256') });
    await expect(findProof(store, wanting('images/'), stated)).rejects.toMatchObject({
      code: 'SIGNATURE_MISSING',
    });
  });

  it('does not make a stated digest worthless', async () => {
    const stated = request({ sha512: digest('sha512') });
    const proof = await findProof(new Store(signed(CONTENT)), wanting('images/'), stated);
    expect(proof.sha512).toBe(digest('sha512'));
  });

  it('is wanted by the first rule that fits', async () => {
    const store = new Store({ [`${NAME}.sha256`]: digest('sha256') });
    const first: ProofPolicy = {
      ...wanting('images/'),
      rules: [
        { prefix: 'images/disk', require: 'digest' },
        { prefix: 'images/', require: 'signature' },
      ],
    };
    expect(await findProof(store, first, request())).toEqual({ sha256: digest('sha256') });
    expect(await findProof(store, wanting('images/prod/'), request())).toEqual({ sha256: digest('sha256') });
  });

  it('or a digest is wanted by a rule also where none is by default', async () => {
    const policy: ProofPolicy = {
      requireDigest: false,
      rules: [{ prefix: 'images/', require: 'digest' }],
    };
    await expect(findProof(new Store(), policy, request())).rejects.toMatchObject({ code: 'DIGEST_MISSING' });
  });
});

describe('what a rule for the domain wants', () => {
  it.each([
    ['digest', 'signature', 'SIGNATURE_MISSING'],
    ['signature', 'digest', 'SIGNATURE_MISSING'],
    ['digest', 'digest', 'DIGEST_MISSING'],
    [undefined, 'signature', 'SIGNATURE_MISSING'],
    [undefined, 'digest', 'DIGEST_MISSING'],
  ] as const)('counts beside what one for the image wants: %s and %s', async (require, kind, code) => {
    const policy: ProofPolicy = {
      requireDigest: false,
      rules: require === undefined ? [] : [{ prefix: 'images/', require }],
      wanted: { kind, rule: 'prod' },
    };
    await expect(findProof(new Store(), policy, request())).rejects.toMatchObject({ code });
  });
});

/**
 * Goal: an image that is proven by a SHA-512 or a signature is cloned, and only from a golden volume whose bytes were
 * compared with that very proof. Method: the real verbs of daemon and helper over a world in memory; signatures as
 * minisign writes them, by a key made here.
 */
import type { KeyObject } from 'node:crypto';
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { provenBy } from '../../../src/core/images/proof.ts';
import type { MinisignKey } from '../../../src/core/policy/minisign.ts';
import { parseMinisignKey } from '../../../src/core/policy/minisign.ts';
import { digestOf, run, thinWorld } from '../thin-world.ts';
import type { World } from '../world.ts';
import { until } from '../world.ts';

const NAME = 'images/small.raw';
const vm = (number: number) => ({
  uuid: `${`${number}`.repeat(8)}-1111-4111-8111-111111111111`,
  ...{ name: `vm${number}`, source: 'block' as const },
});
const sha512Of = (bytes: Uint8Array) => createHash('sha512').update(bytes).digest('hex');
const row = (world: World, number: number) => world.ledger.fillOf(vm(number).uuid, 'vda');

/** Defines it and waits for how that ends. */
async function fill(world: World, number: number, attributes = ''): Promise<string | undefined> {
  world.define({ ...vm(number), attributes });
  await until('ended', () => ['ready', 'failed'].includes(row(world, number)?.state ?? ''));
  await world.goldens.idle();
  return row(world, number)?.problem?.code ?? row(world, number)?.state;
}

const goldens = async (world: World) => (await world.goldens.list()).map(({ lv }) => lv);
const originOf = (world: World, number: number) => {
  const { originUuid } = world.volumes.lvm.get(`vm${number}`);
  return world.volumes.lvm.volumes.find(({ uuid }) => uuid === originUuid)?.lv;
};

interface Signer {
  readonly id: Buffer;
  readonly privateKey: KeyObject;
  readonly trusted: MinisignKey;
}

function newSigner(): Signer {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const id = randomBytes(8);
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  const trusted = parseMinisignKey(Buffer.concat([Buffer.from('Ed'), id, raw]).toString('base64'));
  if (trusted === undefined) throw new Error('no key');
  return { id, privateKey, trusted };
}

/** The text of KEY.minisig. */
function signed({ id, privateKey }: Signer, bytes: Uint8Array): Buffer {
  const signature = sign(null, createHash('blake2b512').update(bytes).digest(), privateKey);
  const comment = 'file:small.raw';
  const whole = sign(null, Buffer.concat([signature, Buffer.from(comment)]), privateKey);
  const first = Buffer.concat([Buffer.from('ED'), id, signature]).toString('base64');
  return Buffer.from(
    `untrusted comment: x\n${first}\ntrusted comment: ${comment}\n${whole.toString('base64')}\n`,
  );
}

describe('an image that only a SHA-512 proves', () => {
  function sha512World(): World {
    const world = thinWorld();
    world.images.objects.delete(`${NAME}.sha256`);
    world.images.objects.set(`${NAME}.sha512`, Buffer.from(sha512Of(world.image)));
    return world;
  }

  it('is cloned from one golden volume, whose bytes are read once', async () => {
    const world = sha512World();
    expect(await fill(world, 1)).toBe('ready');
    const [golden, ...more] = await goldens(world);
    expect([originOf(world, 1), more]).toEqual([golden, []]);
    // Whatever the store gave now would be found out.
    world.images.objects.set(NAME, Buffer.alloc(world.image.length, 0x13));
    world.restart();
    expect(await fill(world, 2)).toBe('ready');
    world.images.isAway = true;
    expect(await fill(world, 3, `sha512='${sha512Of(world.image)}'`)).toBe('ready');
    expect([originOf(world, 2), originOf(world, 3)]).toEqual([golden, golden]);
    for (const number of [1, 2, 3]) expect(world.isFilled(`vm${number}`)).toBe(true);
  });

  it('is not cloned from what was proven by another one', async () => {
    const world = sha512World();
    await fill(world, 1);
    world.images.objects.set(`${NAME}.sha512`, Buffer.from('0'.repeat(128)));
    expect(await fill(world, 2)).toBe('DIGEST_MISMATCH');
    expect(world.volumes.lvm.find('vm2')).toBeUndefined();
    expect(await goldens(world)).toHaveLength(1);
  });

  it('is compared again with all bytes when the ledger is lost, and the golden volume stays', async () => {
    const world = sha512World();
    await fill(world, 1);
    const before = await goldens(world);
    for (const { fillId } of world.ledger.goldens()) world.ledger.removeGolden(fillId);
    world.restart();
    expect(await fill(world, 2)).toBe('ready');
    expect(await goldens(world)).toEqual(before);
    expect(originOf(world, 2)).toBe(before[0]);
    world.images.isAway = true;
    expect(await fill(world, 3, `sha512='${sha512Of(world.image)}'`)).toBe('ready');
  });
});

describe('an image that has to be signed', () => {
  function signedWorld(signer: Signer): World {
    const world = thinWorld({
      minisignKeys: [signer.trusted],
      hostPolicy: [{ name: 'signed', allow: true, require: 'signature' }],
    });
    world.images.objects.set(`${NAME}.minisig`, signed(signer, world.image));
    return world;
  }

  it('is cloned from a golden volume that others have made once its signature was compared with the bytes', async () => {
    const signer = newSigner();
    const world = signedWorld(signer);
    const request = { image: { bucket: 'images', key: 'small.raw' }, format: 'raw' as const };
    const { lv } = await world.goldens.ensure('vg0', { ...request, sha256: digestOf(world.image) }, run());
    expect(world.ledger.goldens()[0]?.provenBy).toEqual([]);
    expect(await fill(world, 1)).toBe('ready');
    expect([await goldens(world), originOf(world, 1)]).toEqual([[lv], lv]);
    expect(world.ledger.goldens()[0]?.provenBy).toEqual([expect.stringMatching(/^minisign:[0-9a-f]{64}$/)]);
    world.images.objects.set(NAME, Buffer.alloc(world.image.length, 0x13));
    expect(await fill(world, 2)).toBe('ready');
    expect(world.isFilled('vm2')).toBe(true);
  });

  it('is refused with the signature of other bytes, golden volume or not', async () => {
    const signer = newSigner();
    const world = signedWorld(signer);
    expect(await fill(world, 1)).toBe('ready');
    world.images.objects.set(`${NAME}.minisig`, signed(signer, Buffer.from('something else')));
    expect(await fill(world, 2)).toBe('SIGNATURE_INVALID');
    world.images.objects.delete(`${NAME}.minisig`);
    expect(await fill(world, 3)).toBe('SIGNATURE_MISSING');
    world.images.objects.set(`${NAME}.minisig`, signed(newSigner(), world.image));
    const stated = `sha256='${digestOf(world.image)}'`;
    expect(await fill(world, 4, stated)).toBe('SIGNATURE_INVALID');
    expect(await goldens(world)).toHaveLength(1);
  });

  it('is known by the signature and its key', () => {
    const [one, other] = [newSigner(), newSigner()];
    const signature = new Uint8Array(64);
    const by = ({ trusted: signer }: Signer) =>
      provenBy({ signature: { signer, signature, trustedComment: '' } }).join();
    expect(by(one)).toBe(by(one));
    expect(by(one)).not.toBe(by(other));
    expect(provenBy({ sha256: 'a' })).toEqual([]);
  });
});

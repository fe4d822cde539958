/**
 * Goal: whoever has got hold of the helper's socket cannot have it touch what is not ours or is in use, nor remove
 * what is published, whatever he says. Method: streams of requests that fit together well enough to reach LVM, some
 * of them spoiled, cut into pieces anywhere; LVM is a model in which such volumes lie.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { LvmHelper } from '../../src/adapters/lvm-helper.ts';
import { privateName, sealTags } from '../../src/core/volume/volume.ts';
import type { Seal } from '../../src/core/volume/volume.ts';
import type { Connections } from '../../src/helper/connections.ts';
import { keyLengthsOf } from '../../src/core/protocol/helper-protocol.ts';
import { serveLines } from '../../src/helper/connections.ts';
import { answer } from '../../src/helper/requests.ts';
import { MemoryLvm } from './memory-lvm.ts';

const FILL_IDS = ['0123456789abcdef', 'fedcba9876543210'] as const;
const UUIDS = ['11111111-2222-3333-4444-555555555555', '99999999-2222-3333-4444-555555555555'] as const;
const SEALED = ['web-root', 'in-use'] as const;

function sealOf(target: string, index: 0 | 1): Seal {
  const content = { image: 'images/debian.qcow2', sha256: 'ab'.repeat(32), generation: 1 };
  return { state: 'ready', fillId: FILL_IDS[index], target, domainUuid: UUIDS[index], ...content };
}

/** A line, and the keys behind it. */
type Said = Buffer;

const VAULT_ID = '00000000000000bb';
const VAULT = { ...sealOf('vault', 0), fillId: VAULT_ID, encryption: 'luks1' as const };

/** What must be as it was, and what must still be there. */
function modelWithVolumes() {
  const model = new MemoryLvm();
  const untouchable = [
    model.add('theirs', { content: 'data' }),
    model.add(privateName('00000000000000aa'), { content: 'data' }),
    model.add('vault', {
      tags: sealTags(VAULT),
      ...{ sizeBytes: 2 ** 23, content: 'data', payload: 'data', openLooks: Infinity },
      header: { volumeKey: '01'.repeat(64), slots: ['a'.repeat(48)] },
    }),
    model.add(SEALED[1], { tags: sealTags(sealOf(SEALED[1], 1)), content: 'data', openLooks: Infinity }),
  ];
  const published = model.add(SEALED[0], { tags: sealTags(sealOf(SEALED[0], 0)), content: 'data' });
  return { model, untouchable, published };
}

const names = fc.constantFrom(...SEALED, 'theirs', 'blank', 'new', privateName(FILL_IDS[0]));
const vg = fc.constantFrom('vg0', 'vg0', 'vg0', 'vg1');
const fillId = fc.constantFrom(...FILL_IDS, '00000000000000aa', 'aaaaaaaaaaaaaaaa', 'aaaaaaaaaaaaaaaa');
const domainUuid = fc.constantFrom(...UUIDS);
const volume = fc.record({ vg, fillId, target: names, domainUuid });
const seal = fc.oneof(
  fc.constantFrom(sealOf(SEALED[0], 0), sealOf(SEALED[1], 1)),
  fc.record({
    state: fc.constantFrom('ready', 'receiving'),
    ...{ fillId, target: names, domainUuid, image: fc.constant('images/a.raw') },
    ...{ sha256: fc.constant('cd'.repeat(32)), generation: fc.constantFrom(1, 2) },
  }),
);
const verb = <Verb extends string>(name: Verb) => fc.constant(name);
const request = fc.oneof(
  fc.record({ verb: verb('examine'), vg, lv: names }),
  fc.record({ verb: verb('create'), volume, sizeBytes: fc.constantFrom(1, 4096, 2 ** 30) }),
  fc.record({ verb: verb('adopt'), volume }),
  fc.record({ verb: verb('publish'), volume, seal }),
  fc.record({ verb: fc.constantFrom('retire', 'restore', 'arrive'), vg, seal }),
  fc.record({ verb: fc.constantFrom('recall', 'discard', 'closeLuks'), vg, fillId }),
  fc.record({ verb: verb('eraseLuks'), vg, seal: fc.constant(VAULT) }),
  fc.record({ verb: verb('readKey'), name: fc.constantFrom('web', '../web', 'none') }),
  fc.record({ verb: verb('claim'), vg, seal, domainUuid }),
);
const key = fc.constantFrom('a', 'b').map((letter) => Buffer.alloc(48, letter));
const encryptedVolume = fc.record({
  vg,
  fillId,
  target: names,
  domainUuid,
  encryption: fc.constant('luks1'),
});
const encryptedSeal = fc.oneof(
  fc.constantFrom(VAULT, { ...sealOf(SEALED[1], 1), encryption: 'luks1' as const }),
  seal.map((each) => ({ ...each, encryption: 'luks1' as const })),
);
const withKeys = fc.oneof(
  fc.record({
    request: fc.record({ verb: fc.constantFrom('formatLuks', 'openLuks'), volume: encryptedVolume }),
    keys: fc.tuple(key),
  }),
  fc.record({
    request: fc.record({ verb: verb('publish'), volume: encryptedVolume, seal: encryptedSeal }),
    keys: fc.tuple(key),
  }),
  fc.record({
    request: fc.record({ verb: fc.constantFrom('checkLuks', 'keepOnlyLuksKey'), vg, seal: encryptedSeal }),
    keys: fc.tuple(key),
  }),
  fc.record({
    request: fc.record({ verb: verb('addLuksKey'), vg, seal: encryptedSeal }),
    keys: fc.tuple(key, key),
  }),
);
/** With keys that are as long as it says, or are not. */
const keyed = fc
  .record({ each: withKeys, off: fc.constantFrom(0, 0, 0, 0, 1, -1, 48, 10_000) })
  .map(({ each, off }) => {
    const keyLengths = each.keys.map(({ length }, index) => length + (index === 0 ? off : 0));
    return Buffer.concat([Buffer.from(`${JSON.stringify({ ...each.request, keyLengths })}\n`), ...each.keys]);
  });
const plainLine = fc
  .oneof(
    { weight: 8, arbitrary: request.map((each) => JSON.stringify(each)) },
    { weight: 1, arbitrary: fc.string() },
    {
      weight: 1,
      arbitrary: fc
        .tuple(request, fc.nat(), fc.constantFrom('"', '/', '..', '\u0000', '}', '\\'))
        .map(([each, at, junk]) => {
          const text = JSON.stringify(each);
          return text.slice(0, at % text.length) + junk + text.slice(at % text.length);
        }),
    },
  )
  .map((text) => Buffer.from(`${text.replaceAll('\n', ' ')}\n`));
/** What else would rarely come in this order: a volume to be encrypted, its header, its mapping. */
const encrypting = fc
  .record({ vg: fc.constant('vg0'), fillId, target: fc.constant('new'), domainUuid })
  .map((own) => {
    const made = { ...own, encryption: 'luks1' };
    const create = JSON.stringify({ verb: 'create', volume: made, sizeBytes: 2 ** 22 });
    const [format, open] = ['formatLuks', 'openLuks'].map((name) =>
      Buffer.from(`${JSON.stringify({ verb: name, volume: made, keyLengths: [48] })}\n${'a'.repeat(48)}`),
    );
    return [Buffer.from(`${create}\n`), format, open] as Said[];
  });
const line = fc.oneof({ weight: 6, arbitrary: plainLine }, { weight: 3, arbitrary: keyed });
const lines = fc
  .tuple(fc.oneof(encrypting, fc.constant<Said[]>([])), fc.array(line, { minLength: 1, maxLength: 12 }))
  .map(([first, more]) => [...first, ...more]);

let folder = '';
let path = '';
let running: Connections | undefined;
/** The one that is asked just now. */
let asked: MemoryLvm;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'helper-'));
  path = join(folder, 'socket');
  const groups = { own: ['vg0'], verified: [], shared: [], thinPools: new Map() };
  const connections = serveLines({
    answer: (said, keys) => answer(said, asked.tools(), () => Promise.resolve(groups), keys),
    keyLengthsOf,
    mayAsk: () => true,
  });
  running = connections;
  await new Promise<void>((resolve) => connections.server.listen(path, resolve));
});
afterEach(async () => {
  await running?.stop();
  await rm(folder, { recursive: true });
});

/** The end of it, even if a line before has announced a key that does not come: then the helper hangs up. */
const NO_REQUEST = Buffer.from(`${'a'.repeat(1024)}\n`);

/** Says it in pieces, and waits until the helper has hung up, again and again until all was said. */
async function say(lines: readonly Said[], cuts: readonly number[]): Promise<void> {
  for (let at = 0; at < lines.length;) at += await sayFrom(lines.slice(at), cuts);
}

/** How many of them were answered: what follows one that is no request is not read. */
function sayFrom(lines: readonly Said[], cuts: readonly number[]): Promise<number> {
  const text = Buffer.concat([...lines, NO_REQUEST]);
  const places = [0, ...cuts.map((cut) => cut % text.length).sort((a, b) => a - b), text.length];
  return new Promise((resolve) => {
    let answers = 0;
    const socket = createConnection(path, () => {
      for (const [index, place] of places.entries()) socket.write(text.subarray(place, places[index + 1]));
    });
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => (answers += chunk.split('\n').length - 1));
    socket.on('close', () => {
      resolve(Math.max(1, answers));
    });
    socket.on('error', () => undefined);
  });
}

it('nothing that is said to the socket touches what it must not', async () => {
  const done = new Set<string>();
  await fc.assert(
    fc.asyncProperty(lines, fc.array(fc.nat(), { maxLength: 4 }), async (said, cuts) => {
      const { model, untouchable, published } = modelWithVolumes();
      asked = model;
      const before = structuredClone(untouchable);
      await say(said, cuts);
      expect(untouchable).toEqual(before);
      for (const one of untouchable) expect(model.volumes).toContain(one);
      expect(model.volumes).toContain(published);
      expect(published).toMatchObject({ content: 'data', owner: 'root' });
      for (const step of model.steps) done.add(step);
      expect((await new LvmHelper(path).list()).volumes).toHaveLength(model.volumes.length);
    }),
    // The same each time, so that what is shown below is shown each time.
    { numRuns: 300, seed: 20_261_130 },
  );
  // Or nothing was shown.
  expect([...done]).toEqual(
    expect.arrayContaining(['create', 'remove', 'rename', 'swapTags', 'luksFormat', 'luksOpen', 'luksClose']),
  );
});

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
import { privateName, sealTags } from '../../src/core/volume.ts';
import type { Seal } from '../../src/core/volume.ts';
import type { Connections } from '../../src/helper/connections.ts';
import { keyLengthsOf } from '../../src/core/helper-protocol.ts';
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

/** What must be as it was, and what must still be there. */
function modelWithVolumes() {
  const model = new MemoryLvm();
  const untouchable = [
    model.add('theirs', { content: 'data' }),
    model.add(privateName('00000000000000aa'), { content: 'data' }),
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
  fc.record({ verb: fc.constantFrom('recall', 'discard'), vg, fillId }),
  fc.record({ verb: verb('claim'), vg, seal, domainUuid }),
);
const line = fc.oneof(
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
);

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

/** Says it in pieces, and waits until the helper has answered each line or hung up. */
function say(lines: readonly string[], cuts: readonly number[]): Promise<void> {
  const text = `${lines.join('\n')}\n`;
  const places = [0, ...cuts.map((cut) => cut % text.length).sort((a, b) => a - b), text.length];
  const wanted = text.split('\n').length - 1;
  return new Promise((resolve) => {
    let answers = 0;
    const socket = createConnection(path, () => {
      for (const [index, place] of places.entries()) socket.write(text.slice(place, places[index + 1]));
    });
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      answers += chunk.split('\n').length - 1;
      if (answers >= wanted) socket.destroy();
    });
    socket.on('close', () => {
      resolve();
    });
    socket.on('error', () => undefined);
  });
}

it('nothing that is said to the socket touches what it must not', async () => {
  const done = new Set<string>();
  await fc.assert(
    fc.asyncProperty(
      fc.array(line, { minLength: 1, maxLength: 12 }),
      fc.array(fc.nat(), { maxLength: 4 }),
      async (lines, cuts) => {
        const { model, untouchable, published } = modelWithVolumes();
        asked = model;
        const before = structuredClone(untouchable);
        await say(lines, cuts);
        expect(untouchable).toEqual(before);
        for (const one of untouchable) expect(model.volumes).toContain(one);
        expect(model.volumes).toContain(published);
        expect(published).toMatchObject({ content: 'data', owner: 'root' });
        for (const step of model.steps) done.add(step);
        expect((await new LvmHelper(path).list()).volumes).toHaveLength(model.volumes.length);
      },
    ),
    // The same each time, so that what is shown below is shown each time.
    { numRuns: 300, seed: 20_261_130 },
  );
  // Or nothing was shown.
  expect([...done]).toEqual(expect.arrayContaining(['create', 'remove', 'rename', 'swapTags']));
});

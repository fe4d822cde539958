/** Goal: what lvp annotate is not told it asks for, by what there is. Method: answers by heart, a fake of the daemon. */
import { describe, expect, it } from 'vitest';
import { askFormat, askKey, askWhat } from '../../../src/cli/annotate/what.ts';
import type { Asker, Choice } from '../../../src/cli/terminal/terminal.ts';
import { ProvisionError } from '../../../src/core/errors.ts';
import { FakeImageVerbs, FakeVerbs } from '../fake-verbs.ts';

const NOTHING = { vm: undefined, disk: undefined, image: undefined };

/** Chooses by label, types what is left; remembers what it was offered. */
function answering(...answers: readonly (string | undefined)[]) {
  const left = [...answers];
  const offered: (readonly string[])[] = [];
  const asker: Asker = {
    text: () => Promise.resolve(left.shift()),
    secret: () => Promise.reject(new Error('nothing is secret')),
    choose: <T>(_question: string, choices: readonly Choice<T>[]) => {
      offered.push(choices.map(({ label, about }) => `${label}: ${about}`));
      const wanted = left.shift();
      return Promise.resolve(choices.find(({ label }) => label === wanted)?.value);
    },
    confirm: () => Promise.resolve(true),
  };
  return { asker, offered };
}

function needs(asker: Asker | undefined, changed: object = {}) {
  const [verbs, images] = [new FakeVerbs(), new FakeImageVerbs()];
  const notes: string[] = [];
  const daemon = {
    disks: (name?: string) => verbs.disks(name),
    storedImages: () => images.stored(),
    ...changed,
  };
  return { daemon, asker, notes, note: (text: string) => notes.push(text) };
}

describe('lvp annotate', () => {
  it('asks for a domain, a disk of it and an image', async () => {
    const { asker, offered } = answering('plain1', 'vda', 'images/data.raw.zst');
    expect(await askWhat(NOTHING, needs(asker))).toEqual({
      ...{ vm: 'plain1', disk: 'vda', image: 'images/data.raw.zst' },
    });
    expect(offered).toEqual([
      ['broken: vda', 'db1: vda', 'web1: vda, vdb', 'plain1: vda'],
      ['vda: guests/plain1-root'],
      [
        'images/debian-12.qcow2: 256 MiB, 2026-11-20',
        'images/debian-13.qcow2: 256 MiB, 2026-11-20',
        'images/data.raw.zst: 256 MiB, 2026-11-20',
      ],
    ]);
  });

  it('asks for the key of an encrypted disk, and of no other', async () => {
    const disks = () =>
      Promise.resolve({
        domains: [
          {
            ...{ uuid: 'u', name: 'web1' },
            disks: [
              { target: 'vda', encrypted: true },
              { target: 'vdb', encrypted: false },
            ],
          },
        ],
        more: false,
      });
    const what = { vm: 'web1', disk: 'vda', image: 'images/a' };
    const asked = needs(answering('file:web1').asker, { disks });
    expect(await askKey(what, asked)).toBe('file:web1');
    expect(await askKey({ ...what, disk: 'vdb' }, asked)).toBeUndefined();
    expect(await askKey(what, needs(undefined, { disks }))).toBeUndefined();
    await expect(askKey(what, needs(answering('').asker, { disks }))).rejects.toThrow('Nothing was chosen');
  });

  it('asks only for what it was not told', async () => {
    const { asker, offered } = answering('images/debian-13.qcow2');
    const told = { vm: 'web1', disk: 'vdb', image: undefined };
    expect(await askWhat(told, needs(asker))).toEqual({ ...told, image: 'images/debian-13.qcow2' });
    expect(offered).toHaveLength(1);
  });

  it('has an image typed where the store does not say what there is, or not all of it', async () => {
    const typed = answering('images/typed.raw');
    const denied = needs(typed.asker, {
      storedImages: () =>
        Promise.reject(new ProvisionError({ code: 'STORE_ACCESS_DENIED', message: 'It is denied.' })),
    });
    const told = { vm: 'web1', disk: 'vdb', image: undefined };
    expect(await askWhat(told, denied)).toMatchObject({ image: 'images/typed.raw' });
    expect(denied.notes).toEqual(['There is no list of images to choose from: It is denied.']);
    const other = answering('another one', 'images/typed.raw');
    const stored = { ...(await new FakeImageVerbs().stored()), more: true };
    const more = needs(other.asker, { storedImages: () => Promise.resolve(stored) });
    expect(await askWhat(told, more)).toMatchObject({ image: 'images/typed.raw' });
  });

  it('offers no name that is an instruction to the terminal', async () => {
    const { asker, offered } = answering('plain1', 'vda', undefined);
    const image = { image: 'images/\u001b[2J', sizeBytes: 1 };
    const daemon = { storedImages: () => Promise.resolve({ images: [image], more: false }) };
    await expect(askWhat(NOTHING, needs(asker, daemon))).rejects.toThrow('Nothing was chosen.');
    expect(offered).toHaveLength(2);
  });

  it.each([[[]], [['plain1']], [['plain1', 'vda']]])('ends without an answer after %j', async (answers) => {
    const { asker } = answering(...answers, undefined);
    await expect(askWhat(NOTHING, needs(asker))).rejects.toMatchObject({
      ...{ code: 'USAGE', message: 'Nothing was chosen. Nothing was written.' },
    });
  });

  it('says what is missing where there is no terminal', async () => {
    const told = { vm: 'web1', disk: undefined, image: undefined };
    await expect(askWhat(told, needs(undefined))).rejects.toMatchObject({
      ...{ code: 'USAGE', message: 'There is no terminal to ask on, and this is missing: DISK, IMAGE.' },
    });
  });

  it('says why there is nothing to choose', async () => {
    const { asker } = answering();
    const none = { disks: () => Promise.resolve({ domains: [], more: false }) };
    await expect(askWhat(NOTHING, needs(asker, none))).rejects.toThrow(
      'No domain of this host has a disk on',
    );
    const cdrom = { target: 'sda', problem: { code: 'DISK_UNSUITABLE', message: 'It is a cdrom.' } };
    const only = {
      disks: () => Promise.resolve({ domains: [{ uuid: 'u', name: 'a', disks: [cdrom] }], more: false }),
    };
    await expect(askWhat({ ...NOTHING, vm: 'a' }, needs(asker, only))).rejects.toThrow('It is a cdrom.');
  });

  it('asks for a format that no name says', async () => {
    expect(await askFormat(answering('raw').asker)).toBe('raw');
  });
});

/** LUKS as the verbs see it, by cryptsetup; keys go to it over its standard input. */
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open, readdir, readFile } from 'node:fs/promises';
import { ProvisionError } from '../core/errors.ts';
import { LUKS_BLANK_HEAD_BYTES, LUKS_HEADER_BYTES } from '../core/volume/volume.ts';
import { checkedNode, checkMappingNode } from './devices.ts';
import type { KeyedResult } from './keyed-command.ts';
import { runWithKeys } from './keyed-command.ts';
import type { LuksHeader } from './luks-header.ts';
import { LUKS_SHAPE, PAYLOAD_SECTORS, PHDR_BYTES, readLuksHeader, SECTOR_BYTES } from './luks-header.ts';
import type { VolumeRow } from './lvm.ts';

/** An open encrypted volume, as device-mapper has it. */
export interface Mapping {
  readonly uuid: string;
  readonly sizeBytes: number;
  /** Names of device-mapper of what it lies on; other devices have none here. */
  readonly on: readonly string[];
}

export interface Luks {
  /** What a header takes in front of an LV. Only models have another one than LUKS_HEADER_BYTES. */
  readonly headerBytes: number;
  /** What is in front of the LV, or in words why that is no header of ours. Only reads. */
  header(row: VolumeRow): Promise<LuksHeader | string>;
  /** A new header with this one key, whatever was there. */
  format(row: VolumeRow, key: Buffer): Promise<void>;
  /** Whether the key opens that slot. Only reads. */
  opens(row: VolumeRow, slot: number, key: Buffer): Promise<boolean>;
  /** Makes the mapping of that name, whose node udev gives to the service user; false if the key does not open it. */
  open(row: VolumeRow, name: string, key: Buffer): Promise<boolean>;
  /** False if somebody has it open. */
  close(name: string): Promise<boolean>;
  mapping(name: string): Promise<Mapping | undefined>;
  addKey(row: VolumeRow, key: Buffer, added: Buffer): Promise<void>;
  /** The key is that of another slot. */
  killSlot(row: VolumeRow, slot: number, key: Buffer): Promise<void>;
  /** Empties all slots, and overwrites where their key material was. */
  erase(row: VolumeRow): Promise<void>;
  /** Whether nothing has been written behind the header since format(). */
  isPayloadBlank(row: VolumeRow): Promise<boolean>;
}

/**
 * Of PBKDF2, for each slot. They make guessing a weak passphrase slower; a key of ours has 192 bits nobody guesses, and is
 * tried while libvirt waits for the gate, on the one slow processor of a small host as well: this takes it some 20 ms.
 * Not cryptsetup's least (1000), so that a key somebody has brought along with less in it is not given away for nothing.
 */
const PBKDF2_ITERATIONS = 10_000;

/** Source: cryptsetup(8), RETURN CODES. */
const EXIT_NO_DEVICE = 4;
const EXIT_BUSY = 5;
/** Its exit code is 2, as that of other things that are not permitted; of a header without any key it is 1. */
const NO_KEY = /No key available with this passphrase|No usable keyslot is available/;
/** From standard input, all of it; no newline ends it. */
const KEY_FROM_STDIN = ['--batch-mode', '--key-file=-'];

/** Where the key material of the slots begins, behind the header itself. */
const KEY_MATERIAL_AT = 4096;

export const luks: Luks = {
  headerBytes: LUKS_HEADER_BYTES,

  async header(row) {
    return withDevice(await checkedNode(row), constants.O_RDONLY, async (handle) => {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(PHDR_BYTES), 0, PHDR_BYTES, 0);
      return readLuksHeader(buffer.subarray(0, bytesRead));
    });
  },

  async format(row, key) {
    const node = await checkedNode(row);
    await withDevice(node, constants.O_WRONLY | constants.O_EXCL, async (handle) => {
      await handle.write(Buffer.alloc(LUKS_BLANK_HEAD_BYTES), 0, LUKS_BLANK_HEAD_BYTES, LUKS_HEADER_BYTES);
      await handle.sync();
    });
    const { cipher, mode, hash, keyBits } = LUKS_SHAPE;
    // --offset: where the data begins does not depend on what the disk says of itself.
    const argv = [
      ...['luksFormat', ...KEY_FROM_STDIN, '--type=luks1', `--cipher=${cipher}-${mode}`],
      ...[`--key-size=${keyBits}`, `--hash=${hash}`, `--pbkdf-force-iterations=${PBKDF2_ITERATIONS}`],
      ...[`--offset=${PAYLOAD_SECTORS}`, node],
    ];
    mustSucceed(row, argv, await runWithKeys(about(row), 'cryptsetup', argv, [key]));
  },

  async opens(row, slot, key) {
    const argv = [
      ...['open', ...KEY_FROM_STDIN, '--type=luks1', '--test-passphrase', `--key-slot=${slot}`],
      await checkedNode(row),
    ];
    return tryKey(row, argv, key);
  },

  async open(row, name, key) {
    const argv = [
      // Whoever writes encrypts, instead of handing each 128 KiB to a thread of the kernel and from that to another one.
      ...['open', ...KEY_FROM_STDIN, '--type=luks1', '--perf-no_write_workqueue'],
      ...[await checkedNode(row), name],
    ];
    if (!(await tryKey(row, argv, key))) return false;
    await checkMappingNode(name);
    return true;
  },

  async close(name) {
    const argv = ['close', name];
    const result = await runWithKeys(name, 'cryptsetup', argv, []);
    if (result.exitCode === EXIT_BUSY) return false;
    if (result.exitCode !== 0 && result.exitCode !== EXIT_NO_DEVICE) throw failed(name, argv, result);
    return true;
  },

  async mapping(name) {
    for (const device of await readdir('/sys/class/block')) {
      if (!device.startsWith('dm-')) continue;
      const folder = `/sys/class/block/${device}`;
      if ((await attribute(`${folder}/dm/name`)) === name) return readMapping(folder);
    }
    return undefined;
  },

  async addKey(row, key, added) {
    // Both over the same input, the second one where the first ends.
    const argv = [
      ...['luksAddKey', ...KEY_FROM_STDIN, `--keyfile-size=${key.length}`],
      ...[`--new-keyfile-size=${added.length}`, `--pbkdf-force-iterations=${PBKDF2_ITERATIONS}`],
      ...[await checkedNode(row), '-'],
    ];
    mustSucceed(row, argv, await runWithKeys(about(row), 'cryptsetup', argv, [key, added]));
  },

  async killSlot(row, slot, key) {
    const argv = ['luksKillSlot', ...KEY_FROM_STDIN, await checkedNode(row), String(slot)];
    mustSucceed(row, argv, await runWithKeys(about(row), 'cryptsetup', argv, [key]));
  },

  async erase(row) {
    const node = await checkedNode(row);
    const argv = ['erase', '--batch-mode', node];
    mustSucceed(row, argv, await runWithKeys(about(row), 'cryptsetup', argv, []));
    // cryptsetup writes to each slot of its own accord; this does not rest on which ones it thought were used.
    await withDevice(node, constants.O_WRONLY | constants.O_EXCL, async (handle) => {
      const lengthBytes = LUKS_HEADER_BYTES - KEY_MATERIAL_AT;
      for (const filler of [0xff, 0x00]) {
        await handle.write(Buffer.alloc(lengthBytes, filler), 0, lengthBytes, KEY_MATERIAL_AT);
        await handle.sync();
      }
    });
  },

  async isPayloadBlank(row) {
    return withDevice(await checkedNode(row), constants.O_RDONLY, async (handle) => {
      const bytes = Buffer.alloc(LUKS_BLANK_HEAD_BYTES);
      await handle.read(bytes, 0, LUKS_BLANK_HEAD_BYTES, LUKS_HEADER_BYTES);
      return bytes.every((byte) => byte === 0);
    });
  },
};

async function withDevice<T>(
  node: string,
  flags: number,
  work: (handle: FileHandle) => Promise<T>,
): Promise<T> {
  const handle = await open(node, flags);
  try {
    return await work(handle);
  } finally {
    await handle.close();
  }
}

async function readMapping(folder: string): Promise<Mapping> {
  const below = await readdir(`${folder}/slaves`);
  return {
    uuid: await attribute(`${folder}/dm/uuid`),
    sizeBytes: Number(await attribute(`${folder}/size`)) * SECTOR_BYTES,
    on: await Promise.all(below.map((device) => attribute(`${folder}/slaves/${device}/dm/name`))),
  };
}

/** Empty of a device that has gone meanwhile. */
async function attribute(path: string): Promise<string> {
  return (await readFile(path, 'utf8').catch(() => '')).trim();
}

async function tryKey(row: VolumeRow, argv: readonly string[], key: Buffer): Promise<boolean> {
  const result = await runWithKeys(about(row), 'cryptsetup', argv, [key]);
  if (result.exitCode !== 0 && NO_KEY.test(result.said)) return false;
  mustSucceed(row, argv, result);
  return true;
}

function about({ vg, lv }: VolumeRow): string {
  return `${vg}/${lv}`;
}

function mustSucceed(row: VolumeRow, argv: readonly string[], result: KeyedResult): void {
  result.stdout.fill(0);
  if (result.exitCode !== 0) throw failed(about(row), argv, result);
}

function failed(what: string, argv: readonly string[], { exitCode, said }: KeyedResult): ProvisionError {
  return new ProvisionError({
    code: 'HELPER_FAILED',
    message: `${what}: cryptsetup ${argv[0] ?? ''} ended with exit code ${exitCode}: ${said}`,
    hint: 'See cryptsetup(8), and what the kernel says: dmesg.',
  });
}

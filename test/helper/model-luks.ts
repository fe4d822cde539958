/**
 * LUKS in the model of LVM: a header with slots for keys, a volume key behind them, and mappings. Every change is one
 * step that a crash can come before or after.
 */
import { createHash } from 'node:crypto';
import type { Luks } from '../../src/helper/cryptsetup.ts';
import { deviceName } from '../../src/helper/mapping.ts';
import type { VolumeRow } from '../../src/helper/lvm.ts';
import type { ModelVolume } from './memory-lvm.ts';

const SLOTS = 8;

export interface ModelHeader {
  /** What the content is encrypted with, in hex, whoever has which key; another one after each format. */
  readonly volumeKey: string;
  slots: (string | undefined)[];
}

export interface ModelMapping {
  readonly uuid: string;
  readonly volumeKey: string;
  isOpen: boolean;
  owner: 'root' | 'service';
}

/** The LVs, and how a step is taken. */
export interface LuksHost {
  readonly headerBytes: number;
  get(lv: string): ModelVolume;
  volumes(): readonly ModelVolume[];
  readonly mappings: Map<string, ModelMapping>;
  step(name: string, effect: () => void): Promise<void>;
}

let formats = 0;

export function modelLuks(host: LuksHost): Luks {
  const headerOf = ({ lv }: VolumeRow): ModelHeader => {
    const { header } = host.get(lv);
    if (header === undefined) throw new Error(`lvm: no LUKS header on ${lv}`);
    return header;
  };
  const opens = (row: VolumeRow, key: Buffer): boolean =>
    headerOf(row).slots.includes(key.toString('latin1'));
  return {
    headerBytes: host.headerBytes,
    header: ({ lv }) => {
      const { header } = host.get(lv);
      if (header === undefined) return Promise.resolve('no LUKS header is on it');
      return Promise.resolve({
        slots: header.slots.flatMap((key, slot) => (key === undefined ? [] : [slot])),
      });
    },
    format: ({ lv }, key) =>
      host.step('luksFormat', () => {
        const volume = host.get(lv);
        formats += 1;
        const volumeKey = createHash('sha512').update(`volume key ${formats}`).digest('hex');
        volume.header = { volumeKey, slots: [key.toString('latin1'), ...Array<undefined>(SLOTS - 1)] };
        volume.content = 'data';
        volume.payload = 'blank';
      }),
    opens: (row, slot, key) => Promise.resolve(headerOf(row).slots[slot] === key.toString('latin1')),
    open: async (row, name, key) => {
      const { volumeKey } = headerOf(row);
      if (!opens(row, key)) return false;
      await host.step('luksOpen', () => {
        if (host.mappings.has(name)) throw new Error(`lvm: ${name} exists`);
        host.mappings.set(name, { uuid: row.uuid, volumeKey, isOpen: false, owner: 'service' });
      });
      return true;
    },
    close: async (name) => {
      if (host.mappings.get(name)?.isOpen === true) return false;
      await host.step('luksClose', () => host.mappings.delete(name));
      return true;
    },
    mapping: (name) => {
      const mapping = host.mappings.get(name);
      if (mapping === undefined) return Promise.resolve(undefined);
      const volume = host.volumes().find(({ uuid }) => uuid === mapping.uuid);
      return Promise.resolve({
        uuid: `CRYPT-LUKS1-0123456789abcdef0123456789abcdef-${name}`,
        sizeBytes: (volume?.sizeBytes ?? 0) - host.headerBytes,
        on: volume === undefined ? [] : [deviceName('vg0', volume.lv)],
      });
    },
    addKey: (row, key, added) =>
      host.step('luksAddKey', () => {
        const { slots } = headerOf(row);
        const free = slots.indexOf(undefined);
        if (!opens(row, key) || free < 0) throw new Error('lvm: luksAddKey');
        slots[free] = added.toString('latin1');
      }),
    killSlot: (row, slot, key) =>
      host.step('luksKillSlot', () => {
        const { slots } = headerOf(row);
        if (!slots.some((held, at) => at !== slot && held === key.toString('latin1')))
          throw new Error('lvm: luksKillSlot of the last known key');
        slots[slot] = undefined;
      }),
    erase: (row) =>
      host.step('luksErase', () => {
        headerOf(row).slots = Array<undefined>(SLOTS);
      }),
    isPayloadBlank: ({ lv }) => Promise.resolve(host.get(lv).payload === 'blank'),
  };
}

/** Plain bytes from encrypted ones and back, for those from `offsetBytes` of the plain content on. */
export function modelCipher(volumeKey: string, bytes: Uint8Array, offsetBytes: number): Buffer {
  const stream = Buffer.from(volumeKey, 'hex');
  const other = Buffer.allocUnsafe(bytes.length);
  // Not the same for two sectors, and never what it was.
  for (let index = 0; index < bytes.length; index++) {
    const at = offsetBytes + index;
    other[index] = (bytes[index] ?? 0) ^ ((stream[at % stream.length] ?? 0) | 1) ^ ((at >> 9) & 0xfe);
  }
  return other;
}

/** What is written to the volumes that are being filled, and the space that they were promised. */
import type { Registry } from 'prom-client';
import { Counter, Gauge } from 'prom-client';
import type { VolumeDevice, VolumeDevices } from '../../provision/ports/volumes.ts';

export interface VolumeSources {
  /** By volume group. */
  readonly reservations: { reservedBytes(): ReadonlyMap<string, number> };
  readonly volumeGroups: readonly string[];
}

export class VolumeMetrics {
  readonly #written;
  readonly #zeroed;
  readonly #readBack;
  readonly #reserved;
  #sources: VolumeSources | undefined;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#written = new Counter({
      ...{
        name: 'lvp_volume_written_bytes_total',
        help: 'Bytes written to volumes, but for zeros.',
        registers,
      },
    });
    this.#zeroed = new Counter({
      ...{ name: 'lvp_volume_zeroed_bytes_total', help: 'Bytes of volumes that were made zeros.', registers },
    });
    this.#readBack = new Counter({
      ...{ name: 'lvp_volume_read_bytes_total', help: 'Bytes read from volumes, to verify them.', registers },
    });
    this.#reserved = new Gauge({
      name: 'lvp_volume_group_reserved_bytes',
      help: 'What fills were promised of a volume group and LVM does not count yet.',
      labelNames: ['vg'],
      registers,
      collect: () => {
        this.#read();
      },
    });
  }

  ask(sources: VolumeSources): void {
    this.#sources = sources;
  }

  measured(devices: VolumeDevices): VolumeDevices {
    return { open: async (...volume) => this.#measuredDevice(await devices.open(...volume)) };
  }

  #measuredDevice(device: VolumeDevice): VolumeDevice {
    return {
      sizeBytes: device.sizeBytes,
      write: async (bytes, offsetBytes) => {
        await device.write(bytes, offsetBytes);
        this.#written.inc(bytes.length);
      },
      zero: async (offsetBytes, lengthBytes) => {
        await device.zero(offsetBytes, lengthBytes);
        this.#zeroed.inc(lengthBytes);
      },
      read: async (target, offsetBytes) => {
        await device.read(target, offsetBytes);
        this.#readBack.inc(target.length);
      },
      sync: () => device.sync(),
      close: () => device.close(),
    };
  }

  #read(): void {
    if (this.#sources === undefined) return;
    const { reservations, volumeGroups } = this.#sources;
    const reserved = reservations.reservedBytes();
    for (const vg of volumeGroups) this.#reserved.set({ vg }, reserved.get(vg) ?? 0);
  }
}

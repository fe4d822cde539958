/** Devices by path as the volumes of fills: as much of a volume group as writeImage() asks for. */
import { openBlockDevice } from '../../src/adapters/block-device.ts';
import { privateName } from '../../src/core/volume/volume.ts';
import type { PrivateVolume, VolumeDevices, Volumes } from '../../src/provision/ports/volumes.ts';

const VG = 'bench';

export class DeviceVolumes implements Volumes, VolumeDevices {
  /** By the private names of their fills. */
  readonly #paths = new Map<string, string>();

  add(path: string): PrivateVolume {
    const fillId = this.#paths.size.toString(16).padStart(16, '0');
    this.#paths.set(privateName(fillId), path);
    return { vg: VG, fillId, target: path, domainUuid: '' };
  }

  open(_vg: string, lv: string) {
    return openBlockDevice(this.#paths.get(lv) ?? '');
  }

  /** What a journal is bound to. */
  list() {
    const volumes = [...this.#paths.keys()].map((lv) => ({
      ...{ vg: VG, lv, uuid: lv, sizeBytes: 0, tags: [], active: true, open: true, segmentType: 'linear' },
      writable: true,
    }));
    return Promise.resolve({ volumes, groups: [], thinPools: [] });
  }

  readonly examine = notMeasured;
  readonly create = notMeasured;
  readonly clone = notMeasured;
  readonly adopt = notMeasured;
  readonly publish = notMeasured;
  readonly claim = notMeasured;
  readonly retire = notMeasured;
  readonly restore = notMeasured;
  readonly arrive = notMeasured;
  readonly recall = notMeasured;
  readonly discard = notMeasured;
  readonly drop = notMeasured;
}

function notMeasured(): Promise<never> {
  return Promise.reject(new Error('a bench makes and publishes no volumes'));
}

/** A test host with the provisioner installed, and the few things every test of the main job does with it. */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect } from 'vitest';
import type { DomainStatus, VolumeStatus } from '../../src/core/protocol/control-protocol.ts';
import { CONTROL_SOCKET } from '../../src/core/protocol/control-protocol.ts';
import { collectLogsOnFailure, eventually, Host } from './host.ts';

/** LVM's default extent: every LV's size is a multiple of it. */
const EXTENT_BYTES = 4 << 20;

/** Boots a host with the installed provisioner for a describe block, configures it, and removes it afterwards. */
export function useProvisionedHost(
  name: string,
  config = '',
): { readonly host: () => Host; readonly folder: () => string } {
  let booted: Host | undefined;
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lvp-'));
    booted = await Host.up(name, { installed: true });
    await configureProvisioner(booted, config);
  });
  afterAll(async () => {
    await booted?.down();
    await rm(folder, { recursive: true, force: true });
  });
  collectLogsOnFailure(() => booted);
  return { host: () => booted ?? expect.fail('the host did not boot'), folder: () => folder };
}

/** As an administrator would; `config` is YAML added to the host's configuration. */
export async function configureProvisioner(host: Host, config = ''): Promise<void> {
  await host.sh('/mnt/seed/configure "$(cat)"', { input: config, timeoutMs: 300_000 });
}

/**
 * Puts the group vg1 on another device, made from its disk by `script`, which has to name it in $pv; gives it the
 * pool `others`, and the provisioner leave to make volumes in it.
 */
export async function moveSecondGroup(host: Host, script: string): Promise<void> {
  await host.sh(
    `set -e
     vgremove --yes vg1; pvremove --yes /dev/ubdc
     ${script}
     udevadm settle
     pvcreate --yes "$pv"; vgcreate vg1 "$pv"
     virsh pool-define-as others logical --source-name vg1 --target /dev/vg1; virsh pool-start others
     sed -i 's/^volume_groups: .*/volume_groups: [vg0, vg1]/' /etc/libvirt-volume-provisioner/config.yaml
     systemctl restart libvirt-volume-provisioner`,
    { timeoutMs: 300_000 },
  );
}

/** Puts raw images of random bytes with their digests into the store, and keeps them in the folder; sizes in MiB by key. */
export async function putRandomImages(
  host: Host,
  folder: string,
  sizesMiB: Readonly<Record<string, number>>,
): Promise<void> {
  for (const [key, sizeMiB] of Object.entries(sizesMiB)) {
    const image = join(folder, key);
    await writeFile(image, randomBytes(sizeMiB << 20));
    await host.putImage(image, key, { sidecar: true });
  }
}

/** How domains of tests look: one disk, on the pool `guests` unless said otherwise, annotated unless `image` is left out. */
export interface TestDomain {
  readonly name: string;
  readonly pool?: 'guests' | 'others';
  /** Its disk is of type `block`, on this device. */
  readonly device?: string;
  /** LV name; the domain's name unless given. */
  readonly lv?: string;
  /** Key in the bucket `images`. */
  readonly image?: string;
  readonly format?: 'raw' | 'qcow2';
  /** More attributes of `<vp:volume>`. */
  readonly attributes?: string;
  /** Attributes of `<vp:provision>`. */
  readonly provision?: string;
  readonly uuid?: string;
  /** Of its disk, which is encrypted. */
  readonly key?: string;
}

export function domainXml(domain: TestDomain): string {
  const { name, pool = 'guests', lv = name, image, uuid } = domain;
  const { format = 'raw', attributes = '', provision = '', device, key } = domain;
  const path = device ?? `/dev/${pool === 'guests' ? 'vg0' : 'vg1'}/${lv}`;
  const encryption =
    key === undefined
      ? ''
      : `<encryption format='luks'><secret type='passphrase' usage='${path}'/></encryption>`;
  const keyed = key === undefined ? '' : `key="${key}"`;
  const source = device === undefined ? `pool='${pool}' volume='${lv}'` : `dev='${device}'`;
  const metadata =
    image === undefined
      ? ''
      : `<metadata>
    <vp:provision xmlns:vp="urn:libvirt-volume-provisioner:domain:1" ${provision}>
      <vp:volume target="vda" image="images/${image}" format="${format}" ${keyed} ${attributes}/>
    </vp:provision>
  </metadata>`;
  return `<domain type='qemu'>
  <name>${name}</name>
  ${uuid === undefined ? '' : `<uuid>${uuid}</uuid>`}
  ${metadata}
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='${device === undefined ? 'volume' : 'block'}' device='disk'>
      <driver name='qemu' type='raw'/>
      ${encryption === '' ? `<source ${source}/>` : `<source ${source}>${encryption}</source>`}
      <target dev='vda' bus='virtio'/>
    </disk>
    <serial type='file'><source path='/var/log/libvirt/qemu/${name}-serial.log'/></serial>
  </devices>
</domain>
`;
}

/** `virsh define`, and nothing else. */
export async function define(host: Host, domain: TestDomain): Promise<void> {
  await host.sh('cat >/tmp/$$.xml && virsh define /tmp/$$.xml', { input: domainXml(domain) });
}

/** `virsh define` of all of them, by one virsh: within a second. */
export async function defineAll(host: Host, domains: readonly TestDomain[]): Promise<void> {
  const input = domains.map((domain) => domainXml(domain)).join('\0');
  await host.sh(
    `set -e; folder=$(mktemp -d); cd $folder
     count=0; while IFS= read -r -d '' xml || [ -n "$xml" ]; do echo "$xml" >$((count += 1)).xml; done
     for file in *.xml; do echo "define $folder/$file"; done | virsh -q >/dev/null`,
    { input },
  );
}

/**
 * In the place of /usr/sbin/lvm, passes every call on to /usr/lib/lvm-of-the-host. The call that the pattern in
 * /run/cut describes is done and never returns.
 */
export const LVM_WRAPPER = `#!/bin/bash
call="\${0##*/} $*"
if [ -e /run/cut ] && [[ $call == $(</run/cut) ]]; then
  (exec -a "\${0##*/}" /usr/lib/lvm-of-the-host "$@")
  touch /run/cut-reached
  exec sleep infinity
fi
exec -a "\${0##*/}" /usr/lib/lvm-of-the-host "$@"
`;

/**
 * What `lvp status --json` prints, as the daemon says it: each `lvp` is a start of Node, which takes this kernel's
 * only processor away from what the test waits for.
 */
export async function statusOf(host: Host, name: string): Promise<DomainStatus> {
  const { stdout } = await host.sh(
    `curl --silent --fail --unix-socket ${CONTROL_SOCKET} http://daemon/v1/domains/${name}`,
  );
  return JSON.parse(stdout) as DomainStatus;
}

/** Waits until all volumes of the domain are published. */
export async function published(host: Host, name: string, timeoutMs = 120_000): Promise<DomainStatus> {
  return eventually(
    `${name} is published`,
    async () => {
      const status = await statusOf(host, name);
      const isReady = status.volumes.length > 0 && status.volumes.every(({ state }) => state === 'ready');
      return isReady ? status : undefined;
    },
    { timeoutMs, intervalMs: 500 },
  );
}

/** Waits until the fill of the domain's first disk has failed, and says why. */
export async function failureOf(host: Host, name: string): Promise<VolumeStatus['problem']> {
  const failed = await eventually(`${name} has failed`, async () => {
    const [volume] = (await statusOf(host, name)).volumes;
    return volume?.state === 'failed' ? volume : undefined;
  });
  return failed.problem;
}

/** What a guest must read: the image as qemu-img sees it, and zeros to the end of the LV. Returns a SHA-256. */
export async function expectedDigest(
  image: string,
  format: 'raw' | 'qcow2',
  lvSizeBytes?: number,
): Promise<string> {
  const raw = format === 'raw' ? image : `${image}.as-raw`;
  if (format !== 'raw') await execa('qemu-img', ['convert', '-f', format, '-O', 'raw', image, raw]);
  const { size } = await stat(raw);
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(raw) as AsyncIterable<Buffer>) hash.update(chunk);
  const tailBytes = (lvSizeBytes ?? Math.ceil(size / EXTENT_BYTES) * EXTENT_BYTES) - size;
  for (let left = tailBytes; left > 0; left -= EXTENT_BYTES)
    hash.update(Buffer.alloc(Math.min(left, EXTENT_BYTES)));
  if (raw !== image) await rm(raw);
  return hash.digest('hex');
}

/** The digest of every byte of a device in the host, past any cache. */
export async function deviceDigest(host: Host, device: string): Promise<string> {
  const { stdout } = await host.sh(`dd if=${device} bs=4M iflag=direct status=none | sha256sum`, {
    timeoutMs: 300_000,
  });
  return stdout.split(' ')[0] ?? '';
}

/** Leaves another tenant's bytes all over the free space of a group's beginning, where new LVs go. */
export async function soilFreeSpace(host: Host, sizeMiB = 1024, vg = 'vg0'): Promise<void> {
  await host.sh(
    `lvcreate --yes --name soiled --size ${sizeMiB}M ${vg}
     tr '\\0' '\\245' </dev/zero | dd of=/dev/${vg}/soiled bs=1M count=${sizeMiB} oflag=direct iflag=fullblock status=none
     lvremove --yes ${vg}/soiled`,
    { timeoutMs: 300_000 },
  );
}

/**
 * Slows MinIO down so that a fill takes as long as a test needs; `undefined` takes the brake off. One brake takes
 * the place of another: between taking one off and putting the next one on, a whole image can come.
 */
export async function limitRate(host: Host, mibPerSecond: number | undefined): Promise<void> {
  await host.sh(
    mibPerSecond === undefined
      ? 'tc qdisc del dev lo root 2>/dev/null; true'
      : `modprobe sch_tbf && tc qdisc replace dev lo root tbf rate ${mibPerSecond * 8}mbit burst 256kb latency 50ms`,
  );
}

/** The same for several fills at once: each connection has its turn, so that none is kept out by the one before. limitRate() keeps that. */
export async function limitRateOfAll(host: Host, mibPerSecond: number): Promise<void> {
  await limitRate(host, mibPerSecond);
  await host.sh(
    `modprobe sch_sfq
     tbf=$(tc qdisc show dev lo | awk '$2 == "tbf" { print $3 }')
     tc qdisc replace dev lo parent "$tbf"1 sfq limit 64`,
  );
}

/** Much more than a fill asks the store for at once: bytes are written long before the last ones have come. */
export const SLOW_IMAGE_BYTES = 64 << 20;

/** Defines the domain and waits until bytes flow; then so slowly that they cannot all have come before limitRate() is called. */
export async function beginSlowFill(host: Host, domain: TestDomain): Promise<void> {
  await limitRate(host, 2);
  await define(host, domain);
  await eventually('bytes flow', async () => {
    const [volume] = (await statusOf(host, domain.name)).volumes;
    return (volume?.bytesDone ?? 0) > 0 ? true : undefined;
  });
  await limitRate(host, 0.125);
}

/** Waits until the domain's volumes are published, and compares one, by default that of its name, with a raw image. */
export async function expectFilled(
  host: Host,
  name: string,
  image: string,
  { vg = 'vg0', lv = name } = {},
): Promise<void> {
  await published(host, name);
  expect(await deviceDigest(host, `/dev/${vg}/${lv}`)).toBe(await expectedDigest(image, 'raw'));
}

/** Those that are left in a group. */
export async function privateVolumes(host: Host, vg = 'vg0'): Promise<string[]> {
  const { stdout } = await host.sh(`lvs --noheadings -o lv_name ${vg}`);
  return stdout
    .split('\n')
    .map((line) => line.trim())
    .filter((name) => name.startsWith('lvp-'));
}

/** The device nodes of LVs: who owns them, and whether there is anything on them. */
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { chmod, chown, open, readFile, stat } from 'node:fs/promises';
import { ProvisionError } from '../core/errors.ts';
import { fillIdOf } from '../core/volume/volume.ts';
import { commandFailed, mustRun, runCommand } from './command.ts';
import type { VolumeRow } from './lvm.ts';

export interface Devices {
  /** Waits, for a bounded time, until udev has dealt with what has happened. */
  settle(): Promise<void>;
  /** Makes the node of a private LV the service user's, mode 0600, until it is taken back or goes; udev leaves it so. */
  giveToService(row: VolumeRow): Promise<void>;
  /** Takes the node from the service user: root:disk, mode 0660, or 0600 of a private LV, as udev makes them. */
  takeBack(row: VolumeRow): Promise<void>;
  isTakenBack(row: VolumeRow): Promise<boolean>;
  /**
   * The numbers of the device under the LV's name, if the kernel says that it is the LV with this UUID; undefined where
   * that cannot be told.
   */
  numbersOf(row: Pick<VolumeRow, 'vg' | 'lv' | 'uuid'>): Promise<VolumeRow['device']>;
  /** Why the device cannot be called empty, or undefined. */
  whyNotEmpty(row: VolumeRow): Promise<string | undefined>;
}

const SERVICE_USER = 'libvirt-volume-provisioner';

const SETTLE_S = 10;
const HEAD_BYTES = 4096;
/** By our udev rule, and without one. */
const MODE_PRIVATE = 0o600;
const MODE_OF_OTHERS = 0o660;

export const devices: Devices = {
  async settle() {
    // Its exit code says whether some other device keeps udev busy; what matters is checked afterwards.
    await runCommand('udev', 'udevadm', ['settle', `--timeout=${SETTLE_S}`]);
  },

  async giveToService(row) {
    await settledNodeOf(row);
    const service = await serviceUid();
    await chmod(nodePath(row), MODE_PRIVATE);
    await chown(nodePath(row), service, await diskGid());
    const { uid, mode } = await nodeOf(row);
    if (uid === service && (mode & MODE_PRIVATE) === MODE_PRIVATE) return;
    throw new ProvisionError({
      code: 'HELPER_FAILED',
      message: `${nodePath(row)} could not be given to ${SERVICE_USER}: its owner is ${uid}, its mode ${mode.toString(8)}.`,
      hint: `Look for a udev rule that matches it: udevadm test /sys/dev/block/${row.device?.major ?? 0}:${row.device?.minor ?? 0}.`,
    });
  },

  async takeBack(row) {
    const { uid, gid, mode } = await settledNodeOf(row);
    // Anybody else has the node from libvirt, for a guest: not ours to change.
    if (uid !== 0 && uid !== (await serviceUid())) return;
    const disk = await diskGid();
    const modeOfName = fillIdOf(row.lv) === undefined ? MODE_OF_OTHERS : MODE_PRIVATE;
    if (uid === 0 && gid === disk && mode === modeOfName) return;
    await chown(nodePath(row), 0, disk);
    await chmod(nodePath(row), modeOfName);
    if (await devices.isTakenBack(row)) return;
    throw new ProvisionError({
      code: 'HELPER_FAILED',
      message: `The owner of ${nodePath(row)} could not be set to root:disk: something sets it at the same time.`,
      hint: `Look for a udev rule that matches it: udevadm test /sys/dev/block/${row.device?.major ?? 0}:${row.device?.minor ?? 0}.`,
    });
  },

  async isTakenBack(row) {
    return (await nodeOf(row)).uid !== (await serviceUid());
  },

  async numbersOf(row) {
    const status = await stat(nodePath(row)).catch(() => undefined);
    if (status?.isBlockDevice() !== true) return undefined;
    const numbers = numbersIn(status.rdev);
    const path = `/sys/dev/block/${numbers.major}:${numbers.minor}/dm/uuid`;
    const said = await readFile(path, 'utf8').catch(() => '');
    return lvUuidOf(said.trim()) === row.uuid.replaceAll('-', '') ? numbers : undefined;
  },

  async whyNotEmpty(row) {
    let handle: FileHandle;
    try {
      // Exclusive: fails if a mount, another dm device or anybody else who claims it has it.
      handle = await open(nodePath(row), constants.O_RDONLY | constants.O_EXCL);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EBUSY') return 'something uses it';
      throw error;
    }
    try {
      checkNumbers(row, await handle.stat());
      // The signature first: its name says more than the place of a byte.
      return (await whySigned(row)) ?? (await whyHeadNotZero(handle));
    } finally {
      await handle.close();
    }
  },
};

async function whyHeadNotZero(handle: FileHandle): Promise<string | undefined> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
  if (bytesRead !== HEAD_BYTES) return `it is shorter than ${HEAD_BYTES} bytes`;
  const at = buffer.findIndex((byte) => byte !== 0);
  return at < 0 ? undefined : `its byte ${at} is not zero`;
}

/**
 * Every superblock and partition table blkid knows, at every offset. lvcreate wipes what the same library
 * finds and zeroes the first 4 KiB, so what a deleted volume has left in the space of a new one does not count
 * against that one; a GPT of which only the backup at the end is left counts in neither.
 */
async function whySigned(row: VolumeRow): Promise<string | undefined> {
  const argv = ['--probe', '--output', 'export', nodePath(row)];
  const result = await runCommand(nodePath(row), 'blkid', argv);
  if (result.exitCode === 2 && result.stdout === '' && result.stderr === '') return undefined;
  if (result.exitCode === 8) return 'blkid finds several signatures that contradict each other';
  if (result.exitCode !== 0) throw commandFailed(nodePath(row), 'blkid', argv, result);
  const found = result.stdout
    .split('\n')
    .filter((line) => /^(TYPE|PTTYPE|USAGE)=/.test(line))
    .map((line) => line.slice(line.indexOf('=') + 1));
  return `blkid finds a signature: ${found.join(', ') || 'unnamed'}`;
}

/** The path of the LV's node, which is certainly that of this LV. */
export async function checkedNode(row: VolumeRow): Promise<string> {
  await nodeOf(row);
  return nodePath(row);
}

/** Fails unless udev has given the node of that mapping to the service user. cryptsetup has waited for udev. */
export async function checkMappingNode(name: string): Promise<void> {
  const path = `/dev/mapper/${name}`;
  if (await isServices(path).catch(() => false)) return;
  // It does not wait where it is told not to, or if udev did not run.
  await devices.settle();
  if (await isServices(path)) return;
  const { uid, mode } = await stat(path);
  throw new ProvisionError({
    code: 'HELPER_FAILED',
    message: `udev has not given /dev/mapper/${name} to ${SERVICE_USER}: its owner is ${uid}, its mode ${(mode & 0o7777).toString(8)}.`,
    hint: `Check the rule ${SERVICE_USER}.rules: udevadm test /sys/class/block/$(basename $(readlink /dev/mapper/${name})).`,
  });
}

async function isServices(path: string): Promise<boolean> {
  const { uid, mode } = await stat(path);
  return uid === (await serviceUid()) && (mode & 0o777) === 0o600;
}

interface Node {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** LVM waits for udev, unless lvm.conf says that it does not. */
function settledNodeOf(row: VolumeRow): Promise<Node> {
  return nodeOf(row).catch(async () => {
    await devices.settle();
    return nodeOf(row);
  });
}

async function nodeOf(row: VolumeRow): Promise<Node> {
  const status = await stat(nodePath(row)).catch((cause: unknown) => {
    throw new ProvisionError({
      code: 'HELPER_FAILED',
      message: `udev has made no node ${nodePath(row)}.`,
      hint: 'See systemctl status systemd-udevd and lvs -o +lv_active.',
      cause,
    });
  });
  checkNumbers(row, status);
  return { uid: status.uid, gid: status.gid, mode: status.mode & 0o7777 };
}

/** A link in /dev that udev has not renewed yet would lead to another volume. */
function checkNumbers(row: VolumeRow, status: { rdev: number; isBlockDevice(): boolean }): void {
  const { major, minor } = numbersIn(status.rdev);
  if (status.isBlockDevice() && row.device?.major === major && row.device.minor === minor) return;
  throw new ProvisionError({
    code: 'HELPER_FAILED',
    message: `${nodePath(row)} is device ${major}:${minor}, but LVM says ${row.device?.major ?? '-'}:${row.device?.minor ?? '-'}.`,
    hint: 'udev is behind or /dev was changed by hand: see udevadm settle and vgmknodes.',
  });
}

function numbersIn(rdev: number): NonNullable<VolumeRow['device']> {
  return { major: (rdev >>> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00) };
}

/**
 * Of a device of device-mapper; '' unless it is that of an LV itself. LVM puts the UUIDs of group and LV behind its
 * prefix, without their dashes, and something more only for what it hides beneath an LV (lib/activate/dev_manager.c).
 */
export function lvUuidOf(dmUuid: string): string {
  return /^LVM-[0-9A-Za-z]{32}([0-9A-Za-z]{32})$/.exec(dmUuid)?.[1] ?? '';
}

function nodePath(row: Pick<VolumeRow, 'vg' | 'lv'>): string {
  return `/dev/${row.vg}/${row.lv}`;
}

let knownServiceUid: number | undefined;
/** Of the user that fills volumes. */
export async function serviceUid(): Promise<number> {
  return (knownServiceUid ??= await idOf('passwd', SERVICE_USER));
}

let knownDiskGid: number | undefined;
async function diskGid(): Promise<number> {
  return (knownDiskGid ??= await idOf('group', 'disk'));
}

/** The number in the third field of a user or group. */
async function idOf(database: 'passwd' | 'group', name: string): Promise<number> {
  const id = Number(
    (await mustRun(`the ${database} entry ${name}`, 'getent', [database, name])).split(':')[2],
  );
  if (Number.isSafeInteger(id)) return id;
  throw new Error(`getent ${database} ${name} answered without a number`);
}

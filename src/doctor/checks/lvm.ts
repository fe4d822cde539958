/** Volume groups and their pools, and that the host never takes a guest's disk for its own. */
import { approximateSize } from '../../core/size.ts';
import { headroomOf, KEEP_NOTHING_FREE } from '../../core/volume/headroom.ts';
import type { Check } from '../check.ts';
import { configOf, fail, ifThere, info, must, ok, some, SOURCE, warn } from '../check.ts';
import type { HostFacts } from '../host.ts';
import { readAssignments, readFields } from '../settings.ts';

const BLOCK_DEVICES = SOURCE.notes('2.1.1');
const WHOLE_DISK =
  /\sdev=['"](\/dev\/(?:sd[a-z]+|vd[a-z]+|hd[a-z]+|xvd[a-z]+|nvme\d+n\d+|disk\/by-[a-z]+\/(?!dm-|.*-part\d)[^'"]*))['"]/g;

async function lvmSettings(host: HostFacts): Promise<ReadonlyMap<string, string>> {
  return readAssignments(must(await host.run('lvm-settings'), 'lvmconfig'));
}

interface Group {
  readonly name: string;
  readonly sizeBytes: number;
  readonly freeBytes: number;
  readonly unitBytes: number;
}

async function groups(host: HostFacts): Promise<readonly Group[]> {
  return readFields(must(await host.run('volume-groups'), 'vgs')).map(([name = '', size, free, extent]) => ({
    ...{ name, sizeBytes: Number(size), freeBytes: Number(free), unitBytes: Number(extent) },
  }));
}

async function wantedGroups(host: HostFacts): Promise<readonly string[]> {
  return (await configOf(host)).volumeGroups;
}

interface Pool {
  readonly name: string;
  readonly vg: string;
}

/** Logical pools with the group that each is on; libvirt takes the pool's name where the source names none. */
async function pools(host: HostFacts): Promise<readonly Pool[]> {
  const found: Pool[] = [];
  for (const name of lines(must(await host.run('pools-all'), 'virsh pool-list'))) {
    // A name with a slash would lead elsewhere; libvirt allows none.
    if (name.includes('/')) continue;
    const path = `/etc/libvirt/storage/${name}.xml`;
    const xml =
      ifThere(await host.readText(path), path) ??
      ifThere(await host.readText(`/run/libvirt/storage/${name}.xml`), path) ??
      '';
    const source = /<source>([\s\S]*?)<\/source>/.exec(xml)?.[1] ?? '';
    found.push({ name, vg: /<name>([^<]+)<\/name>/.exec(source)?.[1] ?? name });
  }
  return found;
}

function lines(text: string): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

const SCANNING: readonly Check[] = [
  {
    id: 'lvm.scan-lvs',
    title: 'LVM does not look into volumes of guests',
    why: 'A guest that makes its disk a physical volume would put volume groups of its own into the host.',
    source: BLOCK_DEVICES,
    fix: 'Take scan_lvs = 1 out of /etc/lvm/lvm.conf.',
    look: async (host) => {
      const value = (await lvmSettings(host)).get('scan_lvs');
      return value === '1' ? fail('scan_lvs = 1') : ok(`scan_lvs = ${value ?? '0'}`);
    },
  },
  {
    id: 'lvm.filter',
    title: 'LVM looks only at disks that are safe',
    why: 'Where guests have partitions or disks, what they write there must not be taken for the host’s. With a devices file that counts, else global_filter; filter does not bind udev.',
    source: BLOCK_DEVICES,
    fix: 'lvmdevices --adddev each disk of the host, and use_devicesfile = 1; or a global_filter that ends with "r|.*|".',
    look: async (host) => {
      const settings = await lvmSettings(host);
      if (settings.get('use_devicesfile') === '1') {
        const name = settings.get('devicesfile') ?? 'system.devices';
        const path = `/etc/lvm/devices/${name === '' ? 'system.devices' : name}`;
        if (ifThere(await host.stat(path), path) !== undefined) return ok(`devices file ${path}`);
      }
      const filter = settings.get('global_filter') ?? '';
      return /"r[^"]+"/.test(filter)
        ? ok(`global_filter = ${filter}`)
        : warn('neither a devices file nor a global_filter that refuses anything');
    },
  },
  {
    id: 'lvm.fstab-labels',
    title: 'no file system of the host is found by its label',
    why: 'A guest can give its own disk the label of the host’s, which then mounts it at the next boot.',
    source: BLOCK_DEVICES,
    fix: 'Write UUID= in its place in /etc/fstab (blkid shows it).',
    look: async (host) => {
      const table = readFields(ifThere(await host.readText('/etc/fstab'), '/etc/fstab') ?? '');
      const labelled = table
        .map(([device = '']) => device)
        .filter((device) => /^"?(PART)?LABEL=|\/by-(part)?label\//.test(device));
      return labelled.length === 0 ? ok('none in /etc/fstab') : fail(some(labelled));
    },
  },
  {
    id: 'lvm.kernel-labels',
    title: 'the kernel is not told of disks by their labels',
    why: 'As with /etc/fstab. The initrd may hold such names too; it is not looked into.',
    source: BLOCK_DEVICES,
    fix: 'Write UUID= in its place in the boot loader’s settings (GRUB_CMDLINE_LINUX).',
    look: async (host) => {
      const words = must(await host.readText('/proc/cmdline'), '/proc/cmdline')
        .trim()
        .split(/\s+/);
      const labelled = words.filter((word) => /=(PART)?LABEL=|\/by-(part)?label\//.test(word));
      return labelled.length === 0 ? ok('none in /proc/cmdline') : fail(some(labelled));
    },
  },
  {
    id: 'lvm.whole-disks',
    title: 'guests have volumes, and not whole disks',
    why: 'A guest with a whole disk can write the labels and tables by which the host finds its own.',
    source: BLOCK_DEVICES,
    fix: 'Give them partitions or logical volumes (virsh edit).',
    look: async (host) => {
      const folder = '/etc/libvirt/qemu';
      const found: string[] = [];
      for (const file of ifThere(await host.list(folder), folder) ?? []) {
        if (!file.endsWith('.xml')) continue;
        const xml = ifThere(await host.readText(`${folder}/${file}`), file) ?? '';
        for (const [, device = ''] of xml.matchAll(WHOLE_DISK)) found.push(`${file.slice(0, -4)}: ${device}`);
      }
      return found.length === 0 ? ok('no defined domain has one') : warn(some(found));
    },
  },
];

const ROOM: readonly Check[] = [
  {
    id: 'lvm.groups',
    title: 'the configured volume groups are there',
    why: 'Nothing can be filled in one that is missing.',
    source: SOURCE.operate('Problems'),
    fix: 'Correct volume_groups, or see why the group is missing: vgs, pvs.',
    look: async (host) => {
      const there = (await groups(host)).map(({ name }) => name);
      const wanted = await wantedGroups(host);
      const missing = wanted.filter((name) => !there.includes(name));
      return missing.length === 0 ? ok(some(wanted)) : fail(`missing: ${some(missing)}`);
    },
  },
  {
    id: 'lvm.free-space',
    title: 'there is more free than what must stay free',
    why: 'Below pools.VG.keep_free every new fill is refused with VG_FULL.',
    source: `${SOURCE.guide('Request Validation')}; ${SOURCE.operate('Space')}`,
    fix: 'Remove volumes that nobody needs (lvp gc --dry-run), or vgextend.',
    look: async (host) => {
      const { keepFree, volumeGroups } = await configOf(host);
      const rooms = (await groups(host)).filter(({ name }) => volumeGroups.includes(name));
      const full = rooms.filter(
        (group) =>
          !headroomOf(group, keepFree.get(group.name) ?? KEEP_NOTHING_FREE, [], group.unitBytes).fits,
      );
      const said = rooms
        .map(({ name, freeBytes }) => `${name} ${approximateSize(freeBytes)} free`)
        .join(', ');
      return full.length === 0 ? ok(said) : warn(`no room in ${some(full.map(({ name }) => name))}: ${said}`);
    },
  },
  {
    id: 'lvm.pools',
    title: 'each volume group has an active pool, or a thin pool',
    why: 'Domains name their volumes by pools; in one that is stopped nothing begins.',
    source: SOURCE.operate('A pool that stops'),
    fix: 'virsh pool-start POOL; if there is none, virsh pool-define-as NAME logical --source-name VG --target /dev/VG.',
    look: async (host) => {
      const active = lines(must(await host.run('pools-active'), 'virsh pool-list'));
      const all = await pools(host);
      const wanted = await wantedGroups(host);
      const { thinPools } = await configOf(host);
      const without = wanted.filter((vg) => !thinPools.has(vg) && !all.some((pool) => pool.vg === vg));
      const stopped = all
        .filter(({ name, vg }) => wanted.includes(vg) && !active.includes(name))
        .map(({ name }) => name);
      if (without.length > 0) return fail(`no logical pool on ${some(without)}`);
      if (stopped.length > 0) return fail(`stopped: ${some(stopped)}`);
      return ok(all.length === 0 ? 'none, and a thin pool' : some(all.map(({ name }) => name)));
    },
  },
  {
    id: 'lvm.pools-autostart',
    title: 'the pools are started at boot',
    why: 'Guests whose pool is stopped do not start, and volumes in it are not filled.',
    source: SOURCE.operate('A pool that stops'),
    fix: 'virsh pool-autostart POOL',
    look: async (host) => {
      const started = lines(must(await host.run('pools-autostarted'), 'virsh pool-list'));
      const wanted = await wantedGroups(host);
      const others = (await pools(host)).filter(
        ({ name, vg }) => wanted.includes(vg) && !started.includes(name),
      );
      return others.length === 0
        ? ok('all of them')
        : info(`not by itself: ${some(others.map(({ name }) => name))}`);
    },
  },
];

export const LVM_CHECKS: readonly Check[] = [...SCANNING, ...ROOM];

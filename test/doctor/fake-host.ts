/** A host in memory on which all is well, to be broken by tests. It counts what was changed on it. */
import { readFileSync } from 'node:fs';
import type { DomainStatus } from '../../src/core/protocol/control-protocol.ts';
import type { GarbageReport } from '../../src/core/protocol/garbage-protocol.ts';
import type { ChangeName, CommandName } from '../../src/doctor/commands.ts';
import type {
  Answer,
  ConfigFacts,
  FileFacts,
  Host,
  KeyServerFacts,
  Rights,
  StoreFacts,
} from '../../src/doctor/host.ts';
import { HOOK, HOOK_INSTALLED_FROM, LIBRARY } from '../../src/doctor/names.ts';
import type { Unit } from './fake-answers.ts';
import { COMMANDS_THAT_ANSWER, known, LIBVIRTD, PID, showUnit, units } from './fake-answers.ts';

/** The real one. */
const RULE = new URL('../../systemd/libvirt-volume-provisioner.rules', import.meta.url);

export const NOW_MS = Date.UTC(2026, 10, 30, 12);
export const DAY_MS = 86_400_000;
export const ACCESS_KEY = 'access-key-that-nobody-may-see';
export const SECRET_KEY = 'secret-key-that-nobody-may-see-anywhere';
export const SERVICE_UID = 990;
export const SERVICE_GID = 991;
export const LIBVIRT_GID = 64055;
export const ETC = '/etc/libvirt-volume-provisioner';
export const STATE = '/var/lib/libvirt-volume-provisioner';

export interface FakeFile extends FileFacts {
  readonly text?: string;
}

export class FakeHost implements Host {
  readonly isRoot = true;
  readonly configPath = `${ETC}/config.yaml`;
  versions = { program: '0.1.0', node: 'v26.10.0' };
  readonly files = new Map<string, FakeFile>();
  readonly units = units();
  libvirt: Unit[] = [{ ...LIBVIRTD }];
  readonly commands = new Map<CommandName, Answer<string>>(COMMANDS_THAT_ANSWER);
  listening: string[] = [];
  hostListening: string[] = ['tcp 0.0.0.0:22'];
  configured: ConfigFacts = {
    minio: {
      endpoint: new URL('https://minio.example.net:9000'),
      buckets: ['images'],
      accessKey: { reveal: () => ACCESS_KEY },
      secretKey: { reveal: () => SECRET_KEY },
    },
    keys: { barbican: undefined },
    volumeGroups: ['vg0'],
    thinPools: new Map([['vg0', 'pool0']]),
    thin: { overcommit: 1, warnPercent: 80, stopPercent: 95 },
    integrity: { requireDigest: true },
    keepFree: new Map([['vg0', { percent: 10 }]]),
    limits: { virtualSizeMaxBytes: 2 ** 40 },
    ...{ stateDir: STATE, runtimeDir: '/run/libvirt-volume-provisioner' },
    log: { level: 'info', format: 'auto' },
    warnings: [],
  };
  configMistake: string | undefined;
  stored: StoreFacts = {
    certificate: { mistake: undefined, protocol: 'TLSv1.3', expiresMs: NOW_MS + 200 * DAY_MS },
    answer: { status: 200, code: undefined, clockAheadMs: 300 },
    buckets: ['images'],
    writableBuckets: [],
  };
  storeMistake: string | undefined;
  keyServed: KeyServerFacts = {
    certificates: ['keys.test:5000', 'keys.test:9311'].map((server) => ({
      ...{ server, mistake: undefined, expiresMs: NOW_MS + 200 * DAY_MS },
    })),
    identity: { userId: '5ecb18f341894e94baca9e8c7b6a824a' },
  };
  keyServerMistake: string | undefined;
  annotated: DomainStatus[] = [];
  daemonMistake: string | undefined;
  leftOver: GarbageReport['findings'] = [];
  /** What was changed, in order. */
  readonly changes: string[] = [];

  constructor() {
    const root = { uid: 0, gid: 0 };
    const service = { uid: SERVICE_UID, gid: SERVICE_GID };
    this.folder(ETC, 0o750, { uid: 0, gid: SERVICE_GID });
    this.file(
      this.configPath,
      0o640,
      { uid: 0, gid: SERVICE_GID },
      'minio:\n  endpoint: https://minio.example.net:9000\n',
    );
    this.folder(`${ETC}/credentials`, 0o700, root);
    this.file(`${ETC}/credentials/minio-access-key`, 0o600, root, ACCESS_KEY);
    this.file(`${ETC}/credentials/minio-secret-key`, 0o600, root, SECRET_KEY);
    this.folder(STATE, 0o700, service);
    this.file(`${STATE}/ledger.db`, 0o600, service, 'SQLite');
    this.file(HOOK, 0o755, root, '#!/bin/sh\nexit 0\n');
    this.file(HOOK_INSTALLED_FROM, 0o644, root, '#!/bin/sh\nexit 0\n');
    for (const name of ['', '/bin', '/src', '/src/helper', '/hooks', '/node_modules'])
      this.folder(`${LIBRARY}${name}`, 0o755, root);
    for (const name of ['bin/node', 'src/main.ts', 'src/helper/main.ts'])
      this.file(`${LIBRARY}/${name}`, 0o644, root, '');
    const rule = readFileSync(RULE, 'utf8');
    this.file('/usr/lib/udev/rules.d/60-libvirt-volume-provisioner.rules', 0o644, root, rule);
    this.socket('/run/libvirt-volume-provisioner/control.sock', 0o660, service);
    this.socket('/run/libvirt-volume-provisioner-helper.socket', 0o600, service);
    this.socket('/run/libvirt/libvirt-sock', 0o660, { uid: 0, gid: LIBVIRT_GID });
    this.file(
      '/etc/passwd',
      0o644,
      root,
      `root:x:0:0\nlibvirt-volume-provisioner:x:${SERVICE_UID}:${SERVICE_GID}::/:\n`,
    );
    this.file(
      '/etc/group',
      0o644,
      root,
      `libvirt:x:${LIBVIRT_GID}:\nlibvirt-volume-provisioner:x:${SERVICE_GID}:\n`,
    );
    this.file(`/proc/${PID}/environ`, 0o400, service, 'PATH=/usr/bin\0LANG=C\0');
    this.file(`/proc/${PID}/attr/current`, 0o444, service, 'libvirt-volume-provisioner (complain)\n');
    this.status({});
    const policy = readFileSync(
      new URL('../../systemd/libvirt-volume-provisioner.dbus.conf', import.meta.url),
      'utf8',
    );
    this.file('/usr/share/dbus-1/system.d/libvirt-volume-provisioner.conf', 0o644, root, policy);
    this.file('/etc/fstab', 0o644, root, '# label\nUUID=1234 / ext4 defaults 0 1\n/dev/vg0/swap none swap\n');
    this.file('/proc/cmdline', 0o444, root, 'root=UUID=1234 ro quiet\n');
    this.file(
      '/etc/libvirt/qemu.conf',
      0o600,
      root,
      'migration_address = "10.1.0.7"\nmigrate_tls_force = 1\nlock_manager = "lockd"\n',
    );
    this.file('/etc/libvirt/libvirtd.conf', 0o644, root, '#listen_tcp = 1\n');
    this.file(
      '/etc/libvirt/storage/guests.xml',
      0o600,
      root,
      '<pool><name>guests</name><source>\n<name>vg0</name></source></pool>',
    );
    this.file('/etc/libvirt/qemu/web1.xml', 0o600, root, "<disk><source dev='/dev/vg0/web1'/></disk>");
    this.file('/sys/module/apparmor/parameters/enabled', 0o444, root, 'Y\n');
    this.folder('/var/log/journal', 0o755, root);
    this.folder('/var/lib/apt/lists', 0o755, root);
  }

  /** virtqemud in place of libvirtd, with virtproxyd for those who come from elsewhere. */
  becomeModular(): void {
    this.libvirt = [
      { ...LIBVIRTD, LoadState: 'not-found', ActiveState: 'inactive' },
      { ...LIBVIRTD, Id: 'virtqemud.service' },
    ];
    this.socket('/run/libvirt/virtqemud-sock', 0o660, { uid: 0, gid: LIBVIRT_GID });
    for (const daemon of ['virtproxyd', 'virtqemud'])
      this.file(`/etc/libvirt/${daemon}.conf`, 0o644, { uid: 0, gid: 0 }, '');
    // It may still lie there, and nobody reads it.
    this.append('/etc/libvirt/libvirtd.conf', 'listen_tcp = 1\nauth_unix_rw = "none"\n');
  }

  file(path: string, mode: number, owner: { uid: number; gid: number }, text: string): void {
    this.files.set(path, { ...FILE, mode, ...owner, text });
  }

  folder(path: string, mode: number, owner: { uid: number; gid: number }): void {
    this.files.set(path, { ...FILE, kind: 'folder', mode, ...owner });
  }

  socket(path: string, mode: number, owner: { uid: number; gid: number }): void {
    this.files.set(path, { ...FILE, kind: 'socket', mode, ...owner });
  }

  /** Changes facts or text of a file that is there. */
  alter(path: string, changed: Partial<FakeFile>): void {
    const file = this.files.get(path);
    if (file === undefined) throw new Error(`the fake host has no ${path}`);
    this.files.set(path, { ...file, ...changed });
  }

  append(path: string, text: string): void {
    this.alter(path, { text: `${this.files.get(path)?.text ?? ''}${text}` });
  }

  says(command: CommandName, text: string): void {
    this.commands.set(command, known(text));
  }

  /** `/proc/PID/status` of the daemon. */
  status(changed: Record<string, string>): void {
    const zeros = '0000000000000000';
    const uids = `${SERVICE_UID}\t${SERVICE_UID}`;
    const fields = {
      Uid: uids,
      Groups: String(SERVICE_GID),
      CapEff: zeros,
      CapBnd: zeros,
      NoNewPrivs: '1',
      Seccomp: '2',
      ...changed,
    };
    const text = Object.entries(fields)
      .map(([name, value]) => `${name}:\t${value}\n`)
      .join('');
    this.file(`/proc/${PID}/status`, 0o444, { uid: SERVICE_UID, gid: SERVICE_GID }, text);
  }

  nowMs(): number {
    return NOW_MS;
  }

  readText(path: string): Promise<Answer<string>> {
    const text = this.files.get(path)?.text;
    return Promise.resolve(text === undefined ? { is: 'absent' } : known(text));
  }

  stat(path: string): Promise<Answer<FileFacts>> {
    const file = this.files.get(path);
    return Promise.resolve(file === undefined ? { is: 'absent' } : known(file));
  }

  list(folder: string): Promise<Answer<readonly string[]>> {
    const names = [...this.files.keys()]
      .filter((path) => path.startsWith(`${folder}/`))
      .map((path) => path.slice(folder.length + 1))
      .filter((name) => !name.includes('/'));
    return Promise.resolve(names.length === 0 ? { is: 'absent' } : known(names));
  }

  run(command: CommandName): Promise<Answer<string>> {
    const shown: Partial<Record<CommandName, readonly Unit[]>> = {
      'show-daemon': [this.units.daemon],
      'show-helper': [this.units.helper],
      'show-socket': [this.units.socket],
      'show-libvirt': this.libvirt,
    };
    const answer = this.commands.get(command);
    if (answer !== undefined) return Promise.resolve(answer);
    return Promise.resolve(known((shown[command] ?? []).map(showUnit).join('\n')));
  }

  listeners(): Promise<Answer<readonly string[]>> {
    return Promise.resolve(known(this.listening));
  }

  hostListeners(): Promise<Answer<readonly string[]>> {
    return Promise.resolve(known(this.hostListening));
  }

  config(): Promise<Answer<ConfigFacts>> {
    return answer(this.configMistake, this.configured);
  }

  store(): Promise<Answer<StoreFacts>> {
    return answer(this.storeMistake, this.stored);
  }

  keyServer(): Promise<Answer<KeyServerFacts>> {
    return answer(this.keyServerMistake, this.keyServed);
  }

  domains(): Promise<Answer<readonly DomainStatus[]>> {
    return answer(this.daemonMistake, this.annotated);
  }

  garbage(): Promise<Answer<GarbageReport>> {
    return answer(this.daemonMistake, { findings: this.leftOver });
  }

  setRights(path: string, rights: Rights): Promise<void> {
    this.changes.push(`rights of ${path}`);
    this.alter(path, rights);
    return Promise.resolve();
  }

  installHook(): Promise<void> {
    this.changes.push('hook');
    this.file(HOOK, 0o755, { uid: 0, gid: 0 }, this.files.get(HOOK_INSTALLED_FROM)?.text ?? '');
    this.alter(HOOK, { ctimeMs: NOW_MS - 1 });
    return Promise.resolve();
  }

  change(command: ChangeName): Promise<void> {
    this.changes.push(command);
    if (command === 'enable-daemon') this.units.daemon['UnitFileState'] = 'enabled';
    if (command === 'enable-socket') this.units.socket['UnitFileState'] = 'enabled';
    if (command === 'reload-libvirtd' || command === 'reload-virtqemud') {
      const Id = `${command.replace('reload-', '')}.service`;
      const StateChangeTimestamp = 'Mon 2026-11-30 12:00:00.000000 UTC';
      this.libvirt = this.libvirt.map((unit) =>
        unit['Id'] === Id ? { ...unit, StateChangeTimestamp } : unit,
      );
    }
    return Promise.resolve();
  }
}

const FILE: FileFacts = {
  kind: 'file',
  mode: 0,
  uid: 0,
  gid: 0,
  mtimeMs: NOW_MS - 5 * DAY_MS,
  ctimeMs: NOW_MS - 5 * DAY_MS,
};

function answer<T>(mistake: string | undefined, value: T): Promise<Answer<T>> {
  return Promise.resolve(mistake === undefined ? known(value) : { is: 'unknown', why: mistake });
}

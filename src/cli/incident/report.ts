/**
 * `lvp incident report`: what somebody who looks into it needs, in one archive. Each part is asked for by itself, has
 * a limit of time and size, and what could not be had is said in the archive. Nothing is changed on this host.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parse } from 'yaml';
import { runCommand } from '../../adapters/host/commands.ts';
import { dumpLedger } from '../../adapters/ledger-copies.ts';
import { programVersion } from '../../adapters/program-version.ts';
import { ProvisionError } from '../../core/errors.ts';
import { FROZEN_NAME } from '../../core/frozen.ts';
import { JOBS_PER_PAGE_MAX } from '../../core/protocol/job-protocol.ts';
import { stateDirOf } from '../backup/make.ts';
import { namedFiles } from '../backup/manifest.ts';
import { packFolder } from '../backup/tar.ts';
import type { Daemon } from '../daemon.ts';
import { examineHost } from '../doctor/doctor-host.ts';
import { knownSecrets, redact } from './redact.ts';
import { withoutRequest } from './without-request.ts';

const PART_TIME_MAX_MS = 60_000;
const PART_CHARS_MAX = 4 * 2 ** 20;
const ROWS_MAX = 10_000;
const DOMAINS_MAX = 500;
const UNITS = ['libvirt-volume-provisioner', 'libvirt-volume-provisioner-helper'].flatMap((unit) => [
  '-u',
  unit,
]);
const LV_COLUMNS = 'vg_name,lv_name,lv_uuid,lv_size,lv_attr,lv_tags,lv_time,origin,devices';

/** By the names of their files. */
type Parts = Readonly<Record<string, () => Promise<string> | string>>;

export interface ReportIndex {
  readonly version: string;
  readonly host: string;
  readonly madeAt: string;
  readonly parts: readonly { readonly name: string; readonly tookMs: number; readonly missing?: string }[];
}

export async function makeReport(
  { configPath, output }: { readonly configPath: string; readonly output: string },
  daemon: Daemon,
): Promise<ReportIndex> {
  const target = resolve(output);
  if (existsSync(target)) {
    const hint = 'Give another name, or remove it.';
    throw new ProvisionError({ code: 'USAGE', message: `${target} is there already.`, hint });
  }
  const folder = mkdtempSync(join(tmpdir(), 'lvp-report-'));
  const partial = `${target}.partial-${process.pid}`;
  try {
    mkdirSync(join(folder, 'report'), { mode: 0o700 });
    const index = await collect(join(folder, 'report'), partsOf(configPath, daemon), secretsOf(configPath));
    await packFolder(join(folder, 'report'), partial);
    renameSync(partial, target);
    return index;
  } finally {
    rmSync(folder, { recursive: true, force: true });
    rmSync(partial, { force: true });
  }
}

async function collect(folder: string, parts: Parts, secrets: readonly string[]): Promise<ReportIndex> {
  const put = (name: string, text: string) => {
    const whole = redact(text, secrets);
    // Of what is too long the end: the newest lines of a log.
    writeFileSync(join(folder, name), whole.slice(-PART_CHARS_MAX), { mode: 0o600 });
  };
  const got = await Promise.all(
    Object.entries(parts).map(async ([name, ask]) => {
      const startedMs = performance.now();
      const missing = await within(ask).then(
        (text) => {
          put(name, text);
        },
        (error: unknown) => (error instanceof Error ? error.message : String(error)),
      );
      const tookMs = Math.round(performance.now() - startedMs);
      return { name, tookMs, ...(typeof missing === 'string' ? { missing } : {}) };
    }),
  );
  const index = { version: programVersion(), host: hostname(), madeAt: new Date().toISOString(), parts: got };
  put('index.json', json(index));
  return index;
}

function partsOf(configPath: string, daemon: Daemon): Parts {
  const settings = (): unknown => parse(readFileSync(configPath, 'utf8'));
  const groups = () => (settings() as { volume_groups?: readonly string[] } | null)?.volume_groups ?? [];
  const command =
    (...argv: readonly string[]) =>
    async () => {
      const answer = await runCommand(argv, PART_TIME_MAX_MS / 2);
      if (answer.is === 'known') return answer.value;
      throw new Error(answer.is === 'absent' ? `${argv[0] ?? ''} is not installed` : answer.why);
    };
  // Each is asked for once, however many parts want it: for the domains the daemon reads the XML of each.
  const domains = once(() => daemon.domains());
  const jobs = once(() => daemon.jobs({ limit: JOBS_PER_PAGE_MAX }));
  const volumes = once(() =>
    command('lvs', '--readonly', '--reportformat', 'json', '-o', LV_COLUMNS, ...groups())(),
  );
  const list = once(command('virsh', '--readonly', 'list', '--all', '--uuid', '--name'));
  return {
    'config.yaml': () => readFileSync(configPath, 'utf8'),
    'frozen.txt': () => readFileSync(join(dirname(configPath), FROZEN_NAME), 'utf8'),
    'domains.json': async () => json(await domains()),
    'plans.json': async () => {
      const names = (await domains()).slice(0, DOMAINS_MAX).map(({ uuid }) => uuid);
      const plans: unknown[] = [];
      for (const name of names) plans.push(await daemon.explain(name));
      return json(plans);
    },
    'jobs.json': async () => json(await jobs()),
    'without-request.json': async () =>
      json(withoutRequest(await list(), await volumes(), await domains(), (await jobs()).jobs)),
    // Of ours, what nobody accounts for.
    'left-over.json': async () => json(await daemon.collectGarbage({ dryRun: true })),
    'ledger.json': () => json(dumpLedger(join(stateDirOf(settings()), 'ledger.db'), ROWS_MAX)),
    'volumes.json': volumes,
    'groups.json': async () =>
      command('vgs', '--readonly', '--reportformat', 'json', '-o', '+vg_tags', ...groups())(),
    'domain-list.txt': list,
    'journal.txt': command('journalctl', '--no-pager', '-o', 'short-iso-precise', '-n', '10000', ...UNITS),
    'audit.json': async () => json(await daemon.audit({})),
    'doctor.json': async () => json(await examineHost(configPath, daemon, false)),
    'units.txt': command(
      'systemctl',
      '--no-pager',
      'show',
      '-p',
      'Id,ActiveState,SubState,Result,NRestarts,FragmentPath,DropInPaths,ExecMainStartTimestamp',
      'libvirt-volume-provisioner.service',
      'libvirt-volume-provisioner-helper.socket',
      'libvirtd.service',
      'virtqemud.service',
    ),
    'version-libvirt.txt': command('virsh', '--readonly', 'version', '--daemon'),
    'version-qemu.txt': command('qemu-system-x86_64', '--version'),
    'version-lvm.txt': command('lvs', '--version'),
    'version-kernel.txt': command('uname', '-a'),
    'packages.txt': command('dpkg-query', '-W', 'libvirt*', 'qemu-system*', 'lvm2', 'systemd'),
  };
}

function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let asked: Promise<T> | undefined;
  return () => (asked ??= ask());
}

async function within(ask: () => Promise<string> | string): Promise<string> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(new Error(`it took longer than ${PART_TIME_MAX_MS / 1000} s`));
  }, PART_TIME_MAX_MS);
  try {
    return await Promise.race([Promise.resolve().then(ask), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** A configuration that cannot be read names no further files. */
function secretsOf(configPath: string): readonly string[] {
  try {
    const settings: unknown = parse(readFileSync(configPath, 'utf8'));
    const files = namedFiles(settings).filter(
      (file) => !/\.(pem|crt|cer)$/.test(file) || file.includes('key'),
    );
    return knownSecrets(configPath, files);
  } catch {
    return knownSecrets(configPath, []);
  }
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

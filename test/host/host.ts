/** A real libvirt host for tests: `test/host/host` as an object. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { afterEach } from 'vitest';

const command = path.join(import.meta.dirname, 'host');
const stateDir = process.env['LVP_HOST_DIR'] ?? path.resolve(import.meta.dirname, '../../.host');

/** What a command in the host left behind. The last newline of each output is taken off. */
export interface ShResult {
  stdout: string;
  stderr: string;
  exitCode: number;
}

export interface ShOptions {
  /** Standard input; none unless given. */
  input?: string | Uint8Array;
  /** How long the command may take, 120 s unless given. */
  timeoutMs?: number;
  /** With false, a command that fails is a result like any other. */
  reject?: boolean;
}

export class Host {
  readonly name: string;
  /** A folder on this machine that the host sees as /mnt/shared. */
  readonly sharedDir: string;

  constructor(name: string) {
    this.name = name;
    this.sharedDir = path.join(stateDir, 'run', name, 'shared');
  }

  /**
   * Boots a host on fresh disks and waits until all its services run. The first call builds what hosts are made
   * of. With a peer, which must be up, both are on one network and know each other by name. `installed`: with the
   * provisioner's package in it, which waits for its configuration. `release`: of that Debian.
   */
  static async up(
    name: string,
    options: { peer?: Host; installed?: boolean; release?: string } = {},
  ): Promise<Host> {
    const host = new Host(name);
    const { peer, installed = false, release } = options;
    const words = [
      'up',
      ...(installed ? ['--installed'] : []),
      ...(release === undefined ? [] : ['--release', release]),
      name,
      ...(peer === undefined ? [] : [peer.name]),
    ];
    try {
      await host.run(words, { timeoutMs: 30 * 60_000 });
    } catch (error) {
      // Nobody gets this host to end it, so its disks go here. The error holds its console.
      await host.down();
      throw error;
    }
    return host;
  }

  /** Runs a script with bash, as root in the host. */
  async sh(script: string, options: ShOptions = {}): Promise<ShResult> {
    return this.run(['sh', '-n', this.name, '--', script], options);
  }

  /** Cuts the power: no process of the host gets a chance to write another byte. */
  async kill(): Promise<void> {
    await this.run(['kill', this.name]);
  }

  /** Boots again, on the same disks. */
  async boot(): Promise<void> {
    await this.run(['boot', this.name], { timeoutMs: 5 * 60_000 });
  }

  /** Shuts down in good order. */
  async poweroff(): Promise<void> {
    await this.run(['poweroff', this.name], { timeoutMs: 5 * 60_000 });
  }

  /** Ends the host and removes all it made. Ending one that has gone already is no error. */
  async down(): Promise<void> {
    await this.run(['down', this.name]);
  }

  /** Starts or stops the key server in it; key-server.ts knows how to use it. */
  async keyServer(action: 'up' | 'down'): Promise<void> {
    await this.run(['key-server', action, this.name], { timeoutMs: 10 * 60_000 });
  }

  /** The journal, and what libvirt and the provisioner logged. */
  async logs(): Promise<string> {
    const { stdout } = await this.run(['logs', this.name], { reject: false });
    return stdout;
  }

  /** Puts a file into the host's MinIO as `images/<key>`; with sidecar also its digest as `images/<key>.sha256`. */
  async putImage(file: string, key: string, options: { sidecar?: boolean } = {}): Promise<void> {
    await this.run(['put', '-n', this.name, ...(options.sidecar === true ? ['--sha256'] : []), file, key]);
  }

  private async run(args: string[], options: ShOptions = {}): Promise<ShResult> {
    const { input, timeoutMs = 120_000, reject = true } = options;
    const result = await execa(command, args, {
      ...(input === undefined ? { stdin: 'ignore' as const } : { input }),
      timeout: timeoutMs,
      reject: false,
    });
    const { stdout, stderr } = result;
    // What did not end by itself, for instance because its time was over, has no exit code and is never a result.
    if (result.exitCode === undefined || (reject && result.failed)) {
      throw new Error(
        [`host ${args.join(' ')}: ${result.shortMessage ?? 'failed'}`, stdout, stderr].join('\n'),
        {
          cause: result,
        },
      );
    }
    return { stdout, stderr, exitCode: result.exitCode };
  }
}

/** Waits until the probe answers with something other than undefined. What it throws counts as "not yet". */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | undefined>,
  options: { timeoutMs?: number; intervalMs?: number } = {},
): Promise<T> {
  const { timeoutMs = 120_000, intervalMs = 500 } = options;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let cause: unknown;
    try {
      const found = await probe();
      if (found !== undefined) return found;
    } catch (error) {
      cause = error;
    }
    if (performance.now() >= deadline) throw new Error(`${what}: not within ${timeoutMs} ms`, { cause });
    await delay(intervalMs);
  }
}

/**
 * Inside a describe block: keeps the host's logs of every test that fails, in `.host/logs/<test name>.log`.
 * A host that `beforeAll` boots is handed over as a function.
 */
export function collectLogsOnFailure(host: Host | (() => Host | undefined)): void {
  afterEach(async ({ task }) => {
    const failed = typeof host === 'function' ? host() : host;
    if (task.result?.state !== 'fail' || failed === undefined) return;
    const file = path.join(stateDir, 'logs', `${failed.name}-${task.name.replaceAll(/[^\w.-]+/g, '-')}.log`);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, await failed.logs());
    process.stderr.write(`the host's logs: ${file}\n`);
  });
}

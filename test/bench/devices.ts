/** Loop devices over sparse files, and a link of 1 Gbit/s. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { DISK_BYTES } from './images.ts';
import type { Cleanup } from './shell.ts';
import { run } from './shell.ts';

export function attachDevice(folder: string, name: string, cleanup: Cleanup): string {
  const file = join(folder, name);
  cleanup.add(() => {
    rmSync(file, { force: true });
  });
  run('truncate', ['--size', String(DISK_BYTES), file]);
  const device = run('losetup', ['--find', '--show', file]).trim();
  cleanup.add(() => run('losetup', ['--detach', device]));
  return device;
}

export interface Link {
  /** What to put before a command line, for it to run at the other end. */
  readonly prefix: string;
  /** The store's address, seen from there. */
  readonly host: string;
}

/** A network namespace whose only way out is a pair of interfaces; what comes in is shaped. */
export function makeLink(cleanup: Cleanup): Link {
  const [near, far, space] = ['lvpbench0', 'lvpbench1', 'lvpbench'];
  const ip = (line: string) => run('ip', line.split(' '));
  ip(`netns add ${space}`);
  cleanup.add(() => ip(`netns del ${space}`));
  ip(`link add ${near} type veth peer name ${far} netns ${space}`);
  ip(`addr add 10.199.0.1/30 dev ${near}`);
  ip(`link set ${near} up`);
  ip(`-n ${space} addr add 10.199.0.2/30 dev ${far}`);
  ip(`-n ${space} link set ${far} up`);
  run('tc', `qdisc add dev ${near} root tbf rate 1gbit burst 512kb latency 20ms`.split(' '));
  return { prefix: `ip netns exec ${space}`, host: '10.199.0.1' };
}

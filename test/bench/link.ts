/** A link of 1 Gbit/s to the store, on this machine. */
import type { Cleanup } from './shell.ts';
import { run } from './shell.ts';

export interface Link {
  /** Takes the limit of 1 Gbit/s away, or puts it back. */
  shape(isShaped: boolean): void;
  /** What to put before a command line, for it to run at the other end. */
  readonly prefix: string;
  /** The store's address, seen from there. */
  readonly host: string;
}

/** A network namespace whose only way out is a pair of interfaces; what comes in is shaped. */
export function makeLink(cleanup: Cleanup): Link {
  // Names of interfaces have at most 15 characters.
  const space = `lvpb${process.pid}`;
  const [near, far] = [`${space}a`, `${space}b`];
  const ip = (line: string) => run('ip', line.split(' '));
  ip(`netns add ${space}`);
  cleanup.add(() => ip(`netns del ${space}`));
  ip(`link add ${near} type veth peer name ${far} netns ${space}`);
  // The kernel takes a namespace apart some time after its name has gone.
  cleanup.add(() => ip(`link del ${near}`));
  ip(`addr add 10.199.0.1/30 dev ${near}`);
  ip(`link set ${near} up`);
  ip(`-n ${space} addr add 10.199.0.2/30 dev ${far}`);
  ip(`-n ${space} link set ${far} up`);
  ip(`-n ${space} link set lo up`);
  const shape = (isShaped: boolean) => {
    const qdisc = isShaped ? 'tbf rate 1gbit burst 512kb latency 20ms' : 'noqueue';
    run('tc', `qdisc replace dev ${near} root ${qdisc}`.split(' '));
  };
  shape(true);
  return { shape, prefix: `ip netns exec ${space}`, host: '10.199.0.1' };
}

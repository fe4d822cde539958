/**
 * Runs inside the test host: prints every event of the real connection as a JSON line, and answers each
 * line on its standard input, `VERB ARGUMENT…`, with a JSON line that has `answer` or `problem`.
 */
import { createInterface } from 'node:readline';
import { libvirtOverDbus } from '../../src/adapters/libvirt-dbus.ts';
import { toProblem } from '../../src/core/errors.ts';
import type { Log } from '../../src/provision/ports/host.ts';

function print(line: object): void {
  process.stdout.write(`${JSON.stringify({ atMs: Math.round(performance.now()), ...line })}\n`);
}

const log: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: (fields, message) => {
    print({ error: message, fields });
  },
  child: () => log,
};

const { connection, domains, pools, secrets } = libvirtOverDbus({
  onEvent: (event) => {
    print({ event });
  },
  log,
});

async function answer(verb: string, first: string, rest: string): Promise<unknown> {
  switch (verb) {
    case 'list':
      return domains.list();
    case 'read':
      return domains.read(first);
    case 'find':
      return domains.find(first);
    case 'start':
      return domains.start(first);
    case 'annotate':
      return domains.writeAnnotation(first, rest);
    case 'pools':
      return pools.list();
    case 'refresh':
      return pools.refresh(first);
    case 'pool-start':
      return pools.start(first);
    case 'delete':
      return pools.deleteVolume(first, rest);
    case 'secret-set': {
      const bytes = Buffer.from(rest);
      await secrets.set(first, { bytes, wipe: () => bytes.fill(0) });
      return undefined;
    }
    case 'secret-unset':
      return secrets.unset(first);
    case 'secrets':
      return secrets.list();
    default:
      throw new Error(`no such verb: ${verb}`);
  }
}

process.on('unhandledRejection', (reason) => {
  print({ unhandled: String(reason) });
});

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const [verb = '', first = '', ...rest] = line.split(' ');
    answer(verb, first, rest.join(' ')).then(
      (value) => {
        print({ verb, answer: value ?? null });
      },
      (error: unknown) => {
        print({ verb, problem: toProblem(error) });
      },
    );
  })
  .on('close', () => {
    void connection.close().then(() => {
      print({ closed: true });
    });
  });
connection.start();

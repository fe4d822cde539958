/** Questions on a terminal. They go to standard error, since standard output is the verb's result. */
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';

/** Asks once. `secret`: what is typed is not shown. Undefined at the end of the input. */
export async function askOnTerminal(question: string, secret = false): Promise<string | undefined> {
  // With a terminal of its own that shows nothing, readline shows nothing of what is typed.
  const output = secret
    ? new Writable({
        write: (_chunk, _encoding, done) => {
          done();
        },
      })
    : process.stderr;
  const terminal = createInterface({ input: process.stdin, output, terminal: process.stderr.isTTY });
  if (secret) process.stderr.write(question);
  const over = new Promise<undefined>((resolve) => {
    terminal.once('close', () => {
      resolve(undefined);
    });
  });
  try {
    return await Promise.race([terminal.question(secret ? '' : question), over]);
  } finally {
    terminal.close();
    if (secret) process.stderr.write('\n');
  }
}

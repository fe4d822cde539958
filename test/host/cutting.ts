/** Programs of a host that can be held for ever at one call, before or after it was done, so that the power goes exactly there. */
import type { Host } from './host.ts';

/** Arguments and environments of the calls of these programs since the last boot. */
export const CALLED = '/run/called';

/** In the place of a program, or of several that are told apart by the name they are called by. */
const wrapperOf = (program: string) => `#!/bin/bash
real=/usr/lib/of-the-host/${program}
{ echo "\${0##*/} $*"; export -p; } >>${CALLED}
if [ -e /run/cut ]; then
  read -r when pattern </run/cut
  if [[ "\${0##*/} $*" == $pattern ]]; then
    [ "$when" = before ] || (exec -a "\${0##*/}" "$real" "$@")
    touch /run/cut-reached
    exec sleep infinity
  fi
fi
exec -a "\${0##*/}" "$real" "$@"
`;

export type When = 'before' | 'after';

export async function letHold(host: Host, programs: readonly string[]): Promise<void> {
  for (const program of programs) {
    await host.sh(
      `set -e; install -d /usr/lib/of-the-host
       mv /usr/sbin/${program} /usr/lib/of-the-host/; cat >/usr/sbin/${program}; chmod 755 /usr/sbin/${program}`,
      { input: wrapperOf(program) },
    );
  }
}

/** `call` is a pattern of the shell for name and arguments of a call, which is the first that fits. */
export async function holdAt(host: Host, when: When, call: string): Promise<void> {
  await host.sh('rm -f /run/cut-reached; cat >/run/cut', { input: `${when} ${call}\n` });
}

/** Whatever the processor, or the page cache, has not brought to the disk until then is lost. */
export async function cutWhenHeld(host: Host): Promise<void> {
  await untilHeld(host);
  await host.kill();
  await host.boot();
}

export async function untilHeld(host: Host): Promise<void> {
  await host.sh('until [ -e /run/cut-reached ]; do sleep 0.05; done', { timeoutMs: 180_000 });
}

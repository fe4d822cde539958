/**
 * Goal: nothing that happens in libvirt stays unnoticed for longer than 15 s, whichever of libvirtd,
 * libvirt-dbus and the bus is restarted. Method: libvirt-dbus-probe.ts runs in the host as an
 * unprivileged user with the daemon's rights on the bus, over the real adapter, and writes what it hears to a file.
 *
 * Noticed means: an event for that domain, or a `connected` after the change, which has everything listed.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CALLED } from '../../src/adapters/libvirt-dbus/rights.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import { secretUuid } from '../../src/core/key/secret-name.ts';
import type { OurSecret } from '../../src/core/xml/secret-xml.ts';
import type { LibvirtDomain, LibvirtEvent } from '../../src/provision/ports/libvirt.ts';
import { guestSecretsContract } from '../provision/secrets-contract.ts';
import { collectLogsOnFailure, Host } from './host.ts';

/** Ten times what it takes on a good day. */
const HEARD_LIMIT_MS = 60_000;
const NOTICE_MS = 15_000;
const NODE = '/mnt/checkout/node_modules/.bin/node';
const PROBE = '/mnt/checkout/test/host/libvirt-dbus-probe.ts';
/** Gets the daemon's rights on the bus. */
const USER = 'nobody';
/** Of libvirt-dbus's objects. */
const KINDS = [
  ...['domain', 'domainsnapshot', 'interface', 'network', 'nodedev', 'nwfilter', 'secret'],
  ...['storagepool', 'storagevol'],
];
const OTHER_UUID = '0c1d2e3f-1111-4111-8111-000000000001';
const NAMESPACE = 'urn:libvirt-volume-provisioner:domain:1';

interface ProbeLine {
  readonly event?: LibvirtEvent;
  readonly verb?: string;
  readonly answer?: unknown;
  readonly problem?: { readonly code: string; readonly message: string; readonly hint?: string };
  readonly unhandled?: string;
}

let host: Host;

beforeAll(async () => {
  host = await Host.up('libvirt-dbus');
  await host.sh(
    `sed 's/user="[^"]*"/user="${USER}"/' /mnt/checkout/systemd/libvirt-volume-provisioner.dbus.conf \
       >/usr/share/dbus-1/system.d/probe.conf
     systemctl reload dbus`,
  );
  await startProbe('probe', USER);
  await heard('probe', 0, (line) => line.event?.kind === 'connected');
});
afterAll(() => host.down());
collectLogsOnFailure(() => host);

async function defineSecret(
  path: string,
  { uuid, flags }: { readonly uuid: string; readonly flags: string },
): Promise<void> {
  const usage = `<usage type='volume'><volume>${path}</volume></usage>`;
  await host.sh('virsh secret-define /dev/stdin', {
    input: `<secret ${flags}><uuid>${uuid}</uuid>${usage}</secret>`,
  });
}

async function startProbe(name: string, user: string): Promise<void> {
  await host.sh(
    `: >/tmp/${name}.in; install -m 666 /dev/null /tmp/${name}.out
     systemd-run --quiet --unit=${name} --uid=${user} \\
       sh -c 'tail -n +1 -f /tmp/${name}.in | ${NODE} ${PROBE} >/tmp/${name}.out 2>&1'`,
  );
}

async function linesOf(name: string): Promise<ProbeLine[]> {
  const { stdout } = await host.sh(`cat /tmp/${name}.out`);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as ProbeLine);
}

/** Waits for a line after the first `from` ones. */
async function heard(name: string, from: number, isIt: (line: ProbeLine) => boolean): Promise<ProbeLine> {
  const deadlineMs = performance.now() + HEARD_LIMIT_MS;
  for (;;) {
    const lines = (await linesOf(name)).slice(from);
    const found = lines.find(isIt);
    if (found !== undefined) return found;
    if (performance.now() > deadlineMs)
      throw new Error(`not heard within ${HEARD_LIMIT_MS} ms: ${JSON.stringify(lines)}`);
    await sleep(200);
  }
}

async function ask(verb: string, rest = ''): Promise<ProbeLine> {
  const from = (await linesOf('probe')).length;
  await host.sh('cat >>/tmp/probe.in', { input: `${verb} ${rest}\n` });
  return heard('probe', from, (line) => line.verb === verb);
}

function xmlOf(uuid: string, memoryMiB = 64): string {
  return `<domain type='qemu'><name>t-${uuid}</name><uuid>${uuid}</uuid><memory unit='MiB'>${memoryMiB}</memory>
    <vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>`;
}

async function define(uuid: string, memoryMiB?: number): Promise<void> {
  await host.sh('virsh define /dev/stdin', { input: xmlOf(uuid, memoryMiB) });
}

/** Does something and waits until the probe has heard of it. */
async function noticed(uuid: string, change: () => Promise<unknown>): Promise<LibvirtEvent> {
  const from = (await linesOf('probe')).length;
  await change();
  const { event } = await heard(
    'probe',
    from,
    ({ event: heardEvent }) =>
      heardEvent?.kind === 'connected' || (heardEvent?.kind === 'domain' && heardEvent.uuid === uuid),
  );
  if (event === undefined) throw new Error('a line without an event was taken for one');
  return event;
}

async function noticedPool(change: string): Promise<void> {
  const from = (await linesOf('probe')).length;
  await host.sh(change);
  await heard('probe', from, ({ event }) => event?.kind === 'pool');
}

describe('while nothing is restarted', () => {
  const uuid = randomUUID();
  const gone = { kind: 'domain', uuid };
  const defined = { ...gone, change: 'defined' };

  test('define, redefine, metadata change and undefine are signalled', async () => {
    expect(await noticed(uuid, () => define(uuid))).toEqual(defined);
    expect(await noticed(uuid, () => define(uuid, 128))).toEqual(defined);
    const metadata = `virsh metadata ${uuid} ${NAMESPACE} --key vp --set '<provision/>'`;
    expect(await noticed(uuid, () => host.sh(metadata))).toEqual(defined);
    expect(await noticed(uuid, () => host.sh(`virsh undefine ${uuid}`))).toEqual(gone);
  });

  test('pool stop, start and refresh are signalled', async () => {
    await noticedPool('virsh pool-destroy guests');
    await noticedPool('virsh pool-start guests');
    await noticedPool('virsh pool-refresh guests');
  });

  test('signals of anybody else are not believed', async () => {
    const from = (await linesOf('probe')).length;
    const path = `/org/libvirt/QEMU/domain/_${uuid.replaceAll('-', '_')}`;
    const destination = await host.sh("busctl list --no-legend | awk '/node/ && /probe/ {print $1; exit}'");
    for (const to of ['', `--destination=${destination.stdout.trim()}`]) {
      await host.sh(`busctl emit ${to} /org/libvirt/QEMU org.libvirt.Connect DomainEvent oii ${path} 0 0`);
    }
    await noticedPool('virsh pool-refresh guests');
    const events = (await linesOf('probe')).slice(from).map(({ event }) => event?.kind);
    expect(destination.stdout).toMatch(/^:/);
    expect(events).not.toContain('domain');
  });
});

describe('domains and pools', () => {
  const uuid = randomUUID();

  test('a domain is read, found, annotated', async () => {
    await define(uuid);
    const element = `<vp:provision xmlns:vp="${NAMESPACE}"><vp:volume target="vda" image="images/a.raw" format="raw"/></vp:provision>`;
    expect(await ask('annotate', `${uuid} ${element}`)).toMatchObject({ answer: null });
    expect(await ask('annotate', `${uuid} ${element.replace('a.raw', 'b.raw')}`)).toMatchObject({
      answer: null,
    });
    const { answer } = await ask('find', `t-${uuid}`);
    const domain = answer as LibvirtDomain;
    expect(domain).toMatchObject({ uuid, active: false, persistent: true, autostart: false });
    expect(domain.xml).toContain(`<vp:provision xmlns:vp="${NAMESPACE}">`);
    expect(domain.xml).toContain('<vp:volume target="vda" image="images/b.raw" format="raw"/>');
    expect(domain.xml).not.toContain('a.raw');
    expect(await ask('read', uuid)).toMatchObject({ answer: { name: `t-${uuid}` } });
  });

  test('a domain that is not there is undefined to read, an error to start', async () => {
    expect(await ask('read', randomUUID())).toMatchObject({ answer: null });
    expect(await ask('find', 'nobody')).toMatchObject({ answer: null });
    expect(await ask('start', randomUUID())).toMatchObject({ problem: { code: 'DOMAIN_NOT_FOUND' } });
  });

  test('only logical pools are listed', async () => {
    await host.sh('virsh pool-create-as folder dir --target /tmp/folder --build');
    const { answer } = await ask('pools');
    expect(answer).toEqual([expect.objectContaining({ name: 'guests', vg: 'vg0', active: true })]);
    await host.sh('virsh pool-destroy folder');
  });

  test('a volume libvirt does not know yet is deleted; one that is gone already, too', async () => {
    await host.sh('lvcreate -y -qq -n lvp-fill-0011223344556677 -L 4M vg0');
    expect(await ask('delete', 'guests lvp-fill-0011223344556677')).toMatchObject({ answer: null });
    expect((await host.sh('lvs --noheadings -o lv_name vg0')).stdout).not.toContain('lvp-fill');
    expect(await ask('delete', 'guests lvp-fill-0011223344556677')).toMatchObject({ answer: null });
  });

  test('a volume libvirt remembers although LVM has lost it counts as gone', async () => {
    await host.sh(
      'virsh vol-create-as guests remembered 4M && lvchange -an vg0/remembered && lvremove -y vg0/remembered',
    );
    expect(await ask('delete', 'guests remembered')).toMatchObject({ answer: null });
  });

  test('a stopped pool says so, and is started', async () => {
    await host.sh('virsh pool-destroy guests');
    expect(await ask('refresh', 'guests')).toMatchObject({ problem: { code: 'POOL_INACTIVE' } });
    expect(await ask('pool-start', 'guests')).toMatchObject({ answer: null });
    expect(await ask('pool-start', 'guests')).toMatchObject({ answer: null });
  });
});

describe('secrets', () => {
  /** What a call of the probe has answered; fails as the call has. */
  async function answerOf(verb: string, rest?: string): Promise<unknown> {
    const { answer, problem } = await ask(verb, rest);
    if (problem !== undefined) throw new ProvisionError({ ...problem, code: problem.code as ErrorCode });
    return answer;
  }

  guestSecretsContract({
    secrets: {
      set: async (path, key) => {
        await answerOf('secret-set', `${path} ${key.bytes.toString()}`);
      },
      unset: async (path) => (await answerOf('secret-unset', path)) as boolean,
      list: async () => (await answerOf('secrets')) as OurSecret[],
    },
    defineOther: (path) => defineSecret(path, { uuid: OTHER_UUID, flags: "ephemeral='no' private='no'" }),
    hasOther: async () => (await host.sh('virsh secret-list')).stdout.includes(OTHER_UUID),
    removeOther: async () => {
      await host.sh(`virsh secret-undefine ${OTHER_UUID}`);
    },
    change: (path) => defineSecret(path, { uuid: secretUuid(path), flags: "ephemeral='no' private='yes'" }),
    isKept: async (path) => (await host.sh('ls /etc/libvirt/secrets')).stdout.includes(secretUuid(path)),
  });

  test('are in the memory of libvirtd alone, and nobody is given the value of one, not even root', async () => {
    const path = '/dev/vg0/private';
    const uuid = secretUuid(path);
    const key = 'the key of a volume that nobody must see';
    await ask('secret-set', `${path} ${key}`);
    const xml = (await host.sh(`virsh secret-dumpxml ${uuid}`)).stdout;
    expect(xml).toContain("<secret ephemeral='yes' private='yes'>");
    const object = `/org/libvirt/QEMU/secret/_${uuid.replaceAll('-', '_')}`;
    const refused = await Promise.all(
      [
        `virsh secret-get-value ${uuid}`,
        `busctl call org.libvirt ${object} org.libvirt.Secret GetValue u 0`,
        `setpriv --reuid=${USER} --clear-groups busctl call org.libvirt ${object} org.libvirt.Secret GetValue u 0`,
        `setpriv --reuid=daemon --clear-groups busctl call org.libvirt /org/libvirt/QEMU org.libvirt.Connect ListSecrets u 0`,
        `setpriv --reuid=daemon --clear-groups busctl call org.libvirt ${object} org.libvirt.Secret GetValue u 0`,
        `setpriv --reuid=daemon --clear-groups busctl call org.libvirt ${object} org.libvirt.Secret GetXMLDesc u 0`,
      ].map((command) => host.sh(`${command} 2>&1`, { reject: false })),
    );
    expect(refused.map(({ exitCode }) => exitCode)).not.toContain(0);
    expect(refused.slice(0, 2).map(({ stdout }) => stdout)).toEqual([
      expect.stringContaining('secret is private'),
      expect.stringContaining('secret is private'),
    ]);
    for (const { stdout } of refused.slice(2)) expect(stdout).toMatch(/Access ?denied/i);
    // Neither libvirt's folders nor what stands in memory of files.
    const found = await host.sh(`grep -rlF '${key}' /etc/libvirt /var/lib/libvirt /run/libvirt /var/log`, {
      reject: false,
    });
    expect(found.stdout).toBe('');
    await ask('secret-unset', path);
  });
});

describe('when something is restarted', () => {
  test.each([
    ['libvirtd', 'systemctl restart libvirtd'],
    ['libvirt-dbus, killed', 'kill -KILL $(pidof libvirt-dbus)'],
    ['the bus', 'systemctl restart dbus'],
  ])('%s: a define at once and a define later are noticed', async (_what, restart) => {
    const [atOnce, later] = [randomUUID(), randomUUID()];
    await noticed(atOnce, async () => {
      await host.sh(restart);
      await define(atOnce);
    });
    await sleep(NOTICE_MS);
    // By now signals themselves must have come back: nothing but the event itself counts.
    const from = (await linesOf('probe')).length;
    await define(later);
    await heard('probe', from, ({ event }) => event?.kind === 'domain' && event.uuid === later);
    expect(await ask('list')).toMatchObject({ answer: expect.arrayContaining([atOnce, later]) as unknown });
  });

  test('libvirtd away for a while: says so once, and connects again', async () => {
    const units = 'libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket';
    const from = (await linesOf('probe')).length;
    await host.sh(`systemctl stop ${units}`);
    const { event } = await heard('probe', from, (line) => line.event?.kind === 'disconnected');
    expect(event).toMatchObject({ problem: { code: 'LIBVIRT_UNAVAILABLE' } });
    expect(await ask('list')).toMatchObject({ problem: { code: 'LIBVIRT_UNAVAILABLE' } });
    const away = (await linesOf('probe')).length;
    await host.sh('systemctl start libvirtd.socket libvirtd.service');
    await heard('probe', away, (line) => line.event?.kind === 'connected');
  });
});

describe('when a qemu hook holds domains', () => {
  test('the heartbeat, pools and secrets still answer, with more domain calls waiting than libvirt-dbus has threads', async () => {
    const uuid = randomUUID();
    await define(uuid);
    // It holds the domain for as long as a file is there; the count ends it if nobody takes the file away.
    await host.sh(
      `mkdir -p /etc/libvirt/hooks/qemu.d; touch /run/hold; rm -f /run/held
       printf '%s\\n' '#!/bin/sh' '[ $2 = prepare ] || exit 0; touch /run/held; tries=0' \
         'while [ -e /run/hold ] && [ $tries -lt 600 ]; do tries=$((tries + 1)); sleep 0.1; done; exit 1' \
         >/etc/libvirt/hooks/qemu.d/slow
       chmod +x /etc/libvirt/hooks/qemu.d/slow`,
    );
    const restarted = (await linesOf('probe')).length;
    await host.sh('systemctl restart libvirtd; virsh list');
    await heard('probe', restarted, ({ event }) => event?.kind === 'connected');
    const from = (await linesOf('probe')).length;
    await host.sh(`printf 'start ${uuid}\\n' >>/tmp/probe.in; until [ -e /run/held ]; do sleep 0.1; done`);
    await host.sh(`for i in 1 2 3 4 5 6; do echo 'read ${uuid}'; done >>/tmp/probe.in`);
    // Any answer at all shows it: the domain is held until the file goes.
    expect(await ask('pools')).toMatchObject({ answer: [{ name: 'guests' }] });
    expect(await ask('secret-set', '/dev/vg0/held a key that is set while the hook waits')).toMatchObject({
      answer: null,
    });
    expect(await ask('secrets')).toMatchObject({
      answer: [{ path: '/dev/vg0/held', isIntact: true }],
    });
    expect(await ask('secret-unset', '/dev/vg0/held')).toMatchObject({ answer: true });
    expect(await ask('secrets')).toMatchObject({ answer: [] });
    await host.sh('test -e /run/hold && rm /run/hold');
    const { problem } = await heard('probe', from, ({ verb }) => verb === 'start');
    expect(problem).toMatchObject({ code: 'LIBVIRT_FAILED' });
    expect(problem?.message).toContain('Hook script execution failed');
    const events = (await linesOf('probe')).slice(from).map(({ event }) => event?.kind);
    expect(events).not.toContain('disconnected');
    await host.sh('rm /etc/libvirt/hooks/qemu.d/slow; systemctl restart libvirtd');
  });
});

describe('rights', () => {
  test('whoever has none is told what to do', async () => {
    await startProbe('stranger', 'daemon');
    const { event } = await heard('stranger', 0, (line) => line.event?.kind === 'disconnected');
    expect(event).toMatchObject({ problem: { code: 'LIBVIRT_UNAVAILABLE' } });
    expect(event?.kind === 'disconnected' ? event.problem.hint : '').toContain('system.d');
  });

  test('nothing may be called that is not called, whatever libvirt-dbus offers', async () => {
    // Objects of each kind are described alike, whether they are there or not.
    const { stdout: offered } = await host.sh(
      `for kind in '' ${KINDS.map((kind) => `/${kind}/_`).join(' ')}; do
         busctl introspect --xml-interface org.libvirt /org/libvirt/QEMU$kind
       done | awk -F '"' '/<interface /{name = $2} /<method /{print name, $2}' | sort -u`,
    );
    const others = offered.split('\n').filter((line) => {
      const [name = '', member = ''] = line.split(' ');
      return !Object.entries(CALLED).some(
        ([known, members]) => known === name && members.some((called) => called === member),
      );
    });
    expect(others.length).toBeGreaterThan(150);
    // The bus answers for libvirt: what gets through is told that its arguments are wrong.
    const throughTo = async (members: readonly string[]): Promise<string> => {
      const { stdout } = await host.sh(
        `while read -r interface member; do
           answer=$(setpriv --reuid=${USER} --clear-groups busctl call org.libvirt /org/libvirt/QEMU "$interface" "$member" 2>&1 || true)
           case $answer in *'Access denied'* | *AccessDenied*) ;; *) echo "$interface $member: $answer" ;; esac
         done`,
        { input: `${members.join('\n')}\n`, timeoutMs: 240_000 },
      );
      return stdout;
    };
    expect(await throughTo(others)).toBe('');
    const opened = 'org.libvirt.Connect DomainDefineXML';
    expect(others).toContain(opened);
    await host.sh(
      `sed -i '/ListDomains/{p;s//DomainDefineXML/}' /usr/share/dbus-1/system.d/probe.conf
       systemctl reload dbus`,
    );
    expect(await throughTo([opened])).toMatch(/^org\.libvirt\.Connect DomainDefineXML: .+/);
  });

  test('nothing was left unhandled in all of this', async () => {
    expect((await linesOf('probe')).filter(({ unhandled }) => unhandled !== undefined)).toEqual([]);
  });
});

/**
 * The gate on a real host: who may start when, what those who may not are told, how long it takes, and what is
 * left of it when parts of it are stopped, hang or are gone. A guest's start takes QEMU 16 s in this kernel, so
 * most of it is asked of the installed hook directly, with the XML that libvirt would give it.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Asked } from './ask-hook.ts';
import { askHook, HOOK } from './ask-hook.ts';
import { eventually } from './host.ts';
import type { ShResult } from './host.ts';
import type { TestDomain } from './provisioned-host.ts';
import {
  define,
  deviceDigest,
  domainXml,
  expectedDigest,
  limitRate,
  privateVolumes,
  published,
  putRandomImages,
  statusOf,
  useProvisionedHost,
} from './provisioned-host.ts';

const GRACE_MS = 3_000;
/** What a refusal may take beyond the grace: ten times what it takes, for a busy machine is no failure. */
const MARGIN_MS = 20_000;
const START_LIMIT_MS = 180_000;
const DAEMON = 'libvirt-volume-provisioner';

/** How often a machine may be too busy for an answer before that is a failure. */
const BUSY_TRIES_MAX = 5;

describe('the gate', () => {
  const { host, folder } = useProvisionedHost('gate');
  /** A domain whose volume is published, and its XML as libvirt has it. */
  let readyXml = '';

  beforeAll(async () => {
    await putRandomImages(host(), folder(), { 'quick.raw': 1, 'slow.raw': 96 });
    await define(host(), { name: 'ready', image: 'quick.raw' });
    await published(host(), 'ready');
    readyXml = await xmlOf('ready');
  });

  async function xmlOf(name: string): Promise<string> {
    return (await host().sh(`virsh dumpxml --inactive ${name}`)).stdout;
  }

  /** Asks the hook; on a machine that is very busy it may say so, and to try again in a moment. */
  async function ask(xml: string, operation = 'prepare begin'): Promise<Asked> {
    for (let tries = 1; ; tries++) {
      const asked = await askHook(host(), xml, operation);
      if (!asked.message.includes('could not be read within') || tries === BUSY_TRIES_MAX) return asked;
    }
  }

  async function expectAllowed(xml: string, operation?: string): Promise<Asked> {
    const asked = await ask(xml, operation);
    expect(asked.message).toBe('');
    expect(asked.allowed).toBe(true);
    return asked;
  }

  async function expectRefused(xml: string, reason: string | RegExp, operation?: string): Promise<Asked> {
    const asked = await ask(xml, operation);
    expect(asked.message).toMatch(reason);
    expect(asked.allowed).toBe(false);
    return asked;
  }

  async function start(name: string): Promise<ShResult & { tookMs: number }> {
    const begun = performance.now();
    const result = await host().sh(`virsh start ${name}`, { reject: false, timeoutMs: START_LIMIT_MS });
    return { ...result, tookMs: Math.round(performance.now() - begun) };
  }

  /** Sees to it that a guest really runs, and ends it. */
  async function expectStarts(name: string): Promise<void> {
    const { stderr, exitCode } = await start(name);
    expect(stderr).toBe('');
    expect(exitCode).toBe(0);
    expect((await host().sh(`virsh domstate ${name}`)).stdout.trim()).toBe('running');
    await host().sh(`virsh destroy ${name}`);
  }

  /** Defines a domain whose fill takes most of a minute, and waits until its first bytes are written. */
  async function beginSlowFill(domain: Omit<TestDomain, 'image'>): Promise<void> {
    await limitRate(host(), 2);
    await define(host(), { ...domain, image: 'slow.raw' });
    await eventually(
      'the fill has begun',
      async () => ((await statusOf(host(), domain.name)).volumes[0]?.bytesDone ?? 0) > 0 || undefined,
      { timeoutMs: 120_000 },
    );
  }

  async function withDaemonStopped(work: () => Promise<void>): Promise<void> {
    await host().sh(`systemctl stop ${DAEMON}`);
    try {
      await work();
    } finally {
      await host().sh(`systemctl start ${DAEMON}`);
      await daemonAnswers();
    }
  }

  /** It runs, and its helper with it: the first reading of LVM after a start takes longer than all others. */
  async function daemonAnswers(): Promise<void> {
    await published(host(), 'ready');
  }

  /** XML of a domain that exists nowhere: libvirt's own, with another disk, identity or annotation. */
  function strangerXml(domain: Partial<TestDomain>): string {
    return domainXml({ name: 'stranger', image: 'quick.raw', uuid: randomUUID(), ...domain });
  }

  function onBlockDevice(xml: string, lv: string): string {
    return xml
      .replace(/<disk type='volume'/, "<disk type='block'")
      .replace(/<source pool='guests' volume='[^']*'\/>/, `<source dev='/dev/vg0/${lv}'/>`);
  }

  function report(what: string, ...tookMs: readonly number[]): void {
    process.stdout.write(`${what}: ${tookMs.map(Math.round).join(', ')} ms\n`);
  }

  describe('during a fill', () => {
    afterEach(async () => {
      await limitRate(host(), undefined);
    });

    it('refuses after the grace, with progress and time left, and holds nobody up for longer', async () => {
      await beginSlowFill({ name: 'during' });
      const xml = await xmlOf('during');
      // How busy the machine is beneath this kernel.
      const { tookMs: answerMs } = await expectAllowed(readyXml);
      const limitMs = GRACE_MS + MARGIN_MS + 2 * answerMs;
      report('an answer without a wait', answerMs);
      const told =
        /Disk vda is being filled from images\/slow\.raw: \d+ % of 96\.0 MiB, \d+ s left\. Start it/;
      const asked = [await expectRefused(xml, told), await expectRefused(xml, told)];
      report('refusal by the hook', ...asked.map(({ tookMs }) => tookMs));

      const listing = host().sh(
        `while [ ! -e /tmp/refused ]; do
           begun=$(date +%s%N); virsh list >/dev/null; echo $((($(date +%s%N) - begun) / 1000000))
         done`,
      );
      const refused = await start('during');
      await host().sh('touch /tmp/refused');
      const listedMs = (await listing).stdout.split('\n').map(Number);
      report('refusal by virsh start', refused.tookMs);
      report('longest virsh list meanwhile', Math.max(...listedMs));

      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toContain("error: Failed to start domain 'during'");
      expect(refused.stderr).toContain('error: Hook script execution failed: ');
      expect(refused.stderr).toContain(`${DAEMON}: domain during is not started: `);
      expect(refused.stderr).toMatch(told);
      // An answer without a wait takes a tenth of this. This kernel's wall clock and its timers differ by percents.
      for (const { tookMs } of asked) expect(tookMs).toBeGreaterThanOrEqual(GRACE_MS / 2);
      expect(Math.max(...asked.map(({ tookMs }) => tookMs))).toBeLessThan(limitMs);
      expect(refused.tookMs).toBeLessThan(limitMs + MARGIN_MS);
      expect(Math.max(...listedMs)).toBeLessThan(limitMs + MARGIN_MS);

      await limitRate(host(), undefined);
      await published(host(), 'during');
      await expectAllowed(xml);
    });

    it('simply starts if the fill ends within the grace', async () => {
      // The LVM calls of a fill take this kernel 2 to 10 s instead of half a second: the grace is longer here.
      const config = `/etc/${DAEMON}/config.yaml`;
      await host().sh(
        `cp -a ${config} /tmp/config; printf 'gate:\\n  grace: 30s\\n' >>${config}; systemctl restart ${DAEMON}`,
      );
      try {
        await daemonAnswers();
        const xml = domainXml({ name: 'at-once', image: 'quick.raw' });
        await host().sh('cat >/tmp/at-once.xml; virsh define /tmp/at-once.xml; virsh start at-once', {
          input: xml,
          timeoutMs: START_LIMIT_MS,
        });
        expect((await host().sh('virsh domstate at-once')).stdout.trim()).toBe('running');
        await host().sh('virsh destroy at-once');
        expect(await deviceDigest(host(), '/dev/vg0/at-once')).toBe(
          await expectedDigest(join(folder(), 'quick.raw'), 'raw'),
        );
      } finally {
        await host().sh(`cp -a /tmp/config ${config}; systemctl restart ${DAEMON}`);
        await daemonAnswers();
      }
    });

    it('start="when-ready" starts the domain by itself afterwards, once', async () => {
      await define(host(), { name: 'by-itself', image: 'quick.raw', provision: 'start="when-ready"' });
      await eventually(
        'it runs',
        async () => (await host().sh('virsh domstate by-itself')).stdout.includes('running') || undefined,
        { timeoutMs: START_LIMIT_MS },
      );
      const {
        volumes: [volume],
      } = await statusOf(host(), 'by-itself');
      expect(volume?.state).toBe('ready');
      await host().sh('virsh destroy by-itself');
      // Whatever would start it again: its own events, a new look at everything, and fills of others.
      await host().sh(`systemctl restart ${DAEMON}`);
      await define(host(), { name: 'afterwards', image: 'quick.raw' });
      await published(host(), 'afterwards');
      expect((await host().sh('virsh domstate by-itself')).stdout.trim()).toBe('shut off');
      const { stdout } = await host().sh(
        `journalctl -u ${DAEMON} -o cat | grep -c 'started, its volumes being ready'`,
      );
      expect(stdout).toBe('1');
    });

    it('libvirt itself refuses when hook and daemon are gone, and all goes on when they are back', async () => {
      await beginSlowFill({ name: 'unguarded' });
      const xml = await xmlOf('unguarded');
      await host().sh(`mv ${HOOK} /root/hook; systemctl stop ${DAEMON}; systemctl reload libvirtd`);
      try {
        // libvirtd reloads in its own time; until then it still asks for the hook, which is refused as well.
        const refused = await eventually('libvirtd without the hook', async () => {
          const result = await start('unguarded');
          expect(result.exitCode).not.toBe(0);
          return result.stderr.includes('Hook script') ? undefined : result;
        });
        expect(refused.stderr).toContain('Storage volume not found');
      } finally {
        await host().sh(`mv /root/hook ${HOOK}; systemctl reload libvirtd`);
      }
      await eventually('libvirtd with the hook', async () => {
        const result = await start('unguarded');
        expect(result.exitCode).not.toBe(0);
        return result.stderr.includes('has no seal that proves it finished') || undefined;
      });
      await host().sh(`systemctl start ${DAEMON}`);
      await limitRate(host(), undefined);
      await published(host(), 'unguarded');
      await expectAllowed(xml);
      expect(await deviceDigest(host(), '/dev/vg0/unguarded')).toBe(
        await expectedDigest(join(folder(), 'slow.raw'), 'raw'),
      );
      expect(await privateVolumes(host())).toEqual([]);
    });
  });

  describe('with the daemon stopped', () => {
    const unsealed = /the provisioning daemon does not answer .*has no seal that proves it finished/;

    it('allows what is sealed, and it starts', async () => {
      await withDaemonStopped(async () => {
        const { tookMs } = await expectAllowed(readyXml);
        report('allowed by the seal', tookMs);
        await expectStarts('ready');
      });
    });

    it.each([
      ['another domain', { lv: 'ready' }],
      ['nothing, for there is no volume', { lv: 'nowhere' }],
      ['nothing, the volume being foreign', { lv: 'foreign' }],
      ['nothing, the volume being half filled', { lv: 'half' }],
    ])('refuses a volume sealed for %s', async (_, domain) => {
      await host().sh('lvs vg0/foreign 2>/dev/null || lvcreate --yes --size 4M --name foreign vg0');
      await host().sh(
        `lvs vg0/half 2>/dev/null || lvcreate --yes --size 4M --name half --addtag lvp:filling \
           --addtag lvp:fill:00000000deadbeef --addtag lvp:target:half --addtag lvp:domain:${randomUUID()} vg0`,
      );
      await withDaemonStopped(async () => {
        await expectRefused(strangerXml(domain), unsealed);
      });
      await host().sh('lvremove --yes vg0/foreign vg0/half');
    });

    it('refuses another generation, a domain in a copy, and an annotation it cannot read', async () => {
      const uuid = /<uuid>(.*)<\/uuid>/.exec(readyXml)?.[1] ?? expect.fail('no UUID');
      const ready = { name: 'ready', image: 'quick.raw', uuid };
      await withDaemonStopped(async () => {
        await expectAllowed(domainXml(ready));
        await expectAllowed(domainXml({ ...ready, attributes: 'generation="1"' }));
        await expectRefused(domainXml({ ...ready, attributes: 'generation="2"' }), unsealed);
        await expectRefused(domainXml({ ...ready, uuid: randomUUID() }), unsealed);
        await expectRefused(domainXml(ready).replace('target="vda"', 'target="vdb"'), 'disk vdb');
        await expectRefused(domainXml(ready).replace('</domain>', ''), 'annotation cannot be read');
        await expectRefused(domainXml(ready).replace("pool='guests'", "pool='gone'"), 'no logical volume');
      });
    });

    it('a volume interrupted in its fill is refused', async () => {
      await beginSlowFill({ name: 'interrupted' });
      const xml = await xmlOf('interrupted');
      await withDaemonStopped(async () => {
        expect(await privateVolumes(host())).toHaveLength(1);
        await expectRefused(xml, unsealed);
      });
      await limitRate(host(), undefined);
      await published(host(), 'interrupted');
      await withDaemonStopped(async () => {
        await expectAllowed(xml);
      });
    });

    it('every other operation passes, whatever the state of the volume', async () => {
      await withDaemonStopped(async () => {
        for (const operation of [
          'reconnect begin',
          'start begin',
          'started begin',
          'stopped end',
          'release end',
          'attach begin',
          'restore end',
        ])
          await expectAllowed(strangerXml({ lv: 'nowhere' }), operation);
      });
    });
  });

  it('goes by the seals when the daemon hangs', async () => {
    await host().sh(`systemctl kill --signal STOP ${DAEMON}`);
    try {
      const seconds = Number((await host().sh(`cat /run/${DAEMON}/gate-seconds`)).stdout);
      const allowed = await expectAllowed(readyXml);
      const refused = await expectRefused(
        strangerXml({ lv: 'ready' }),
        'has no seal that proves it finished',
      );
      report('answers while the daemon hangs', allowed.tookMs, refused.tookMs);
      expect(Math.min(allowed.tookMs, refused.tookMs)).toBeLessThan(seconds * 1_000 + MARGIN_MS);
    } finally {
      await host().sh(`systemctl kill --signal CONT ${DAEMON}`);
    }
    await daemonAnswers();
    await expectAllowed(readyXml);
  });

  it('an arriving domain is verified and never filled', async () => {
    for (const operation of ['migrate begin', 'restore begin']) {
      const xml = strangerXml({ lv: 'arriving' });
      await expectRefused(xml, 'domain asked is not started: ', operation);
      // Its own prepare comes next, for the same UUID.
      await expectRefused(xml, 'domain asked is not started: ');
    }
    // What is sealed here is whole for a restore, and a copy from before for a migration.
    await expectAllowed(readyXml, 'restore begin');
    await expectRefused(readyXml, 'volume vg0/ready here is a copy from before', 'migrate begin');
    await withDaemonStopped(async () => {
      await expectAllowed(readyXml, 'restore begin');
      await expectRefused(readyXml, 'let in by nobody else', 'migrate begin');
    });
    const { stdout } = await host().sh(`lvs --noheadings -o lv_name vg0; journalctl -u ${DAEMON} -o cat`);
    expect(stdout).not.toContain('vg0/arriving yet');
    expect(stdout).not.toMatch(/^ *(arriving|lvp-fill-\w+)$/m);
  });

  it('knows the volumes of disks of type block, with and without the daemon', async () => {
    const xml = onBlockDevice(domainXml({ name: 'block', image: 'quick.raw' }), 'block');
    await host().sh('cat >/tmp/block.xml; virsh define /tmp/block.xml', { input: xml });
    await published(host(), 'block');
    expect(await deviceDigest(host(), '/dev/vg0/block')).toBe(
      await expectedDigest(join(folder(), 'quick.raw'), 'raw'),
    );
    const defined = await xmlOf('block');
    expect(defined).toContain("<source dev='/dev/vg0/block'/>");
    const foreign = onBlockDevice(strangerXml({}), 'block');
    const mapped = defined.replace('/dev/vg0/block', '/dev/mapper/vg0-block');
    await expectAllowed(defined);
    await expectAllowed(mapped);
    await expectRefused(foreign, 'Volume vg0/block is published for domain');
    await withDaemonStopped(async () => {
      await expectAllowed(defined);
      await expectAllowed(mapped);
      await expectRefused(foreign, 'volume vg0/block of disk vda has no seal that proves it finished');
      await expectRefused(onBlockDevice(strangerXml({}), 'nowhere'), 'has no seal that proves it finished');
      for (const elsewhere of ['/dev/mapper/vg0-other', '/dev/vg0/../vg0/block', '/dev/vg0', 'block'])
        await expectRefused(
          defined.replace('/dev/vg0/block', elsewhere),
          /has no seal|is not on \/dev\/VG\/LV|names no logical volume/,
        );
    });
  });

  describe('a domain without annotation', () => {
    const plain = { name: 'plain', lv: 'plain' };

    it('pays some milliseconds', async () => {
      await define(host(), plain);
      const runs = 50;
      const { stdout } = await host().sh(
        `printf '#!/bin/sh\\nexit 0\\n' >/tmp/empty; chmod 755 /tmp/empty
         virsh dumpxml plain >/tmp/plain.xml
         for script in /tmp/empty ${HOOK} /tmp/empty ${HOOK}; do
           begun=$(date +%s%N)
           for run in $(seq ${runs}); do $script plain prepare begin - </tmp/plain.xml; done
           echo $((($(date +%s%N) - begun) / ${runs}000))
         done`,
      );
      const [empty1 = NaN, hook1 = NaN, empty2 = NaN, hook2 = NaN] = stdout.split('\n').map(Number);
      const emptyUs = Math.min(empty1, empty2);
      const addedUs = Math.min(hook1, hook2) - emptyUs;
      process.stdout.write(`an empty sh script: ${emptyUs} µs; the hook adds ${addedUs} µs\n`);
      expect(addedUs).toBeLessThan(100_000);
    });

    it('starts with everything of ours stopped, broken or gone', async () => {
      await host().sh('lvcreate --yes --size 4M --name plain vg0 && virsh pool-refresh guests');
      const xml = await xmlOf('plain');
      const config = `/etc/${DAEMON}/config.yaml`;
      await host().sh(
        `systemctl stop ${DAEMON} ${DAEMON}-helper.socket ${DAEMON}-helper.service
         cp -a ${config} /tmp/config; echo 'not: [a configuration' >${config}
         mv /usr/lib/${DAEMON} /root/moved-away`,
      );
      try {
        for (const operation of ['prepare begin', 'migrate begin', 'restore begin', 'reconnect begin'])
          await expectAllowed(xml, operation);
        await expectStarts('plain');
      } finally {
        await host().sh(
          `mv /root/moved-away /usr/lib/${DAEMON}; cp -a /tmp/config ${config}
           systemctl start ${DAEMON}-helper.socket ${DAEMON}`,
        );
      }
      await daemonAnswers();
      await expectAllowed(readyXml);
    });
  });
});

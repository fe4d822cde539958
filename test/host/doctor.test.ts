/**
 * `lvp doctor` on a real host: the units as systemd and the kernel have them, libvirt, LVM and MinIO give it nothing to
 * call broken; what is broken then is found, and what it can repair is repaired.
 */
import { describe, expect, it } from 'vitest';
import type { Finding, Report } from '../../src/doctor/finding.ts';
import { eventually } from './host.ts';
import { useProvisionedHost } from './provisioned-host.ts';

const ETC = '/etc/libvirt-volume-provisioner';
const UNIT = 'libvirt-volume-provisioner.service';
const HOOK = '/etc/libvirt/hooks/qemu.d/50-libvirt-volume-provisioner';

/** What a test host is knowingly weaker in than the doctor advises. */
const ACCEPTED = [
  // The keys are MinIO's root account, which may do everything.
  'warn store.writes-nothing',
  // Tests put images into other buckets as well.
  'warn store.buckets',
  // The kernel has SELinux without a policy.
  'warn libvirt.confinement',
  // Guests get logical volumes only, and LVM does not look into these.
  'warn lvm.filter',
];

describe('the doctor', () => {
  const { host } = useProvisionedHost('doctor');

  /** Asked again while the host is so busy that some of its parts do not answer in time. */
  async function examined(words = ''): Promise<{ report: Report; exitCode: number; text: string }> {
    return eventually(
      'all parts of the host answer the doctor',
      async () => {
        const { stdout, exitCode } = await host().sh(`lvp doctor --json ${words}`, { reject: false });
        const report = JSON.parse(stdout) as Report;
        const isHurried = report.findings.some(
          ({ severity, what }) => severity === 'unknown' && /within \d+ s|no time left/.test(what),
        );
        return isHurried ? undefined : { report, exitCode, text: stdout };
      },
      { timeoutMs: 280_000 },
    );
  }

  function bad({ findings }: Report): string[] {
    return findings.filter(isBad).map(({ id, severity }) => `${severity} ${id}`);
  }

  const isBad = ({ severity }: Finding) =>
    severity === 'fail' || severity === 'warn' || severity === 'unknown';

  it('finds nothing broken on a host as it was installed, and says what it can be told', async () => {
    const { report, exitCode } = await examined();
    expect(bad(report).filter((finding) => !ACCEPTED.includes(finding))).toEqual([]);
    expect(exitCode).toBe(7);
    expect(report.repairs).toEqual([]);
  });

  it('tells others than root what could not be looked at, and no secret', async () => {
    const { stdout, exitCode } = await host().sh(
      `runuser -u nobody -- lvp doctor >/tmp/said; code=$?
       grep -c -F -f ${ETC}/credentials/minio-secret-key /tmp/said; cat /tmp/said; exit $code`,
      { reject: false },
    );
    expect(stdout).toMatch(/^0\n/);
    expect(stdout).toMatch(/unknown +files\.config: .*permission denied .*run as root/);
    expect(exitCode).toBe(7);
  });

  it('sees what is broken, and with --fix repairs what is ours', async () => {
    await host().sh(
      `set -e
       chmod 0644 ${ETC}/credentials/minio-secret-key
       chmod 0777 ${ETC}
       echo 'exit 0' >>${HOOK}; chmod 0644 ${HOOK}
       systemctl disable --quiet ${UNIT}
       mkdir -p /etc/systemd/system/${UNIT}.d
       printf '[Service]\\nNoNewPrivileges=no\\nRestrictNamespaces=no\\nCapabilityBoundingSet=CAP_KILL\\n' >/etc/systemd/system/${UNIT}.d/loose.conf
       printf '[Journal]\\nStorage=volatile\\n' >/etc/systemd/journald.conf.d/zz-volatile.conf
       systemctl daemon-reload
       systemctl restart ${UNIT}`,
    );
    const ours = [
      ...['fail hook.executable', 'fail hook.unchanged', 'warn hook.known', 'fail units.daemon.enabled'],
      ...['fail files.config-folder', 'fail credentials.files'],
    ];
    const others = [
      ...[
        'fail units.daemon.process',
        'fail units.daemon.capabilities',
        'warn units.daemon.own-kind',
        'fail units.daemon.no-new-privileges',
      ],
      'fail journal.persistent',
    ];
    const { report: broken, exitCode } = await examined();
    expect(bad(broken)).toEqual(expect.arrayContaining([...ours, ...others]));
    expect(exitCode).toBe(8);

    const { report: mended, text } = await examined('--fix');
    expect(
      bad(mended)
        .filter((finding) => !ACCEPTED.includes(finding))
        .sort(),
    ).toEqual([...others].sort());
    expect(mended.repairs.every(({ done }) => done)).toBe(true);
    const { stdout } = await host().sh(
      `stat --format='%a %U' ${HOOK} ${ETC} ${ETC}/credentials/minio-secret-key; systemctl is-enabled ${UNIT}
       cmp ${HOOK} /usr/lib/libvirt-volume-provisioner/hooks/qemu`,
    );
    expect(stdout).toBe('755 root\n750 root\n600 root\nenabled');
    const key = (await host().sh(`cat ${ETC}/credentials/minio-secret-key`)).stdout;
    expect(text).not.toContain(key);
  });

  it('puts a hook back that was removed, and has libvirt look for it', async () => {
    await host().sh(`rm ${HOOK}; systemctl reload libvirtd`);
    expect(bad((await examined()).report)).toContain('fail hook.present');
    expect(bad((await examined('--fix')).report).filter((finding) => finding.includes('hook.'))).toEqual([]);
    const { stdout } = await host().sh(
      `cat >/tmp/plain.xml && virsh define /tmp/plain.xml >/dev/null && virsh start plain 2>&1; true`,
      {
        input: `<domain type='qemu'><name>plain</name>
        <metadata><vp:provision xmlns:vp="urn:libvirt-volume-provisioner:domain:1">
          <vp:volume target="vda" image="images/none.raw" format="raw"/></vp:provision></metadata>
        <memory unit='MiB'>64</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>
        <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
          <disk type='block' device='disk'><driver name='qemu' type='raw'/>
            <source dev='/dev/vg0/plain'/><target dev='vda' bus='virtio'/></disk></devices></domain>`,
      },
    );
    expect(stdout).toMatch(/libvirt-volume-provisioner: domain plain is not started/);
  });
});

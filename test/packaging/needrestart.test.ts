/** What needrestart does to which service when a library was replaced: its own code, word for word, with our file. */
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { CHECKOUT } from '../../packaging/runtime-packages.ts';

/**
 * The rules that needrestart brings (3.6 to 3.11), our file, and the loop of `needrestart` that decides. Perl walks
 * a hash in another order each time.
 */
const DECIDE = String.raw`
  our %nrconf = (override_rc => { qr(^dbus) => 0, qr(^libvirt) => $ARGV[0], qr(^virtlogd) => 0, qr(^docker) => 0 });
  my $file = $ARGV[1];
  eval do { local (@ARGV, $/) = $file; <> };
  die $@ if $@;
  for my $rc (@ARGV[2 .. $#ARGV]) {
    my $restart = 1;
    foreach my $re (keys %{$nrconf{override_rc}}) {
      next unless ($rc =~ /$re/);
      $restart = $nrconf{override_rc}->{$re};
      last;
    }
    print "$rc $restart\n";
  }`;

const OURS = ['libvirt-volume-provisioner.service', 'libvirt-volume-provisioner-helper.service'];
const LIBVIRTS = ['libvirtd.service', 'libvirt-dbus.service', 'libvirt-guests.service', 'virtlogd.service'];

async function decided(ofLibvirt: 0 | 1, file: string): Promise<Record<string, string>> {
  const { stdout } = await execa('perl', ['-e', DECIDE, String(ofLibvirt), file, ...OURS, ...LIBVIRTS]);
  return Object.fromEntries(stdout.split('\n').map((line) => line.split(' ') as [string, string]));
}
const all = (names: readonly string[], word: string): [string, string][] => names.map((name) => [name, word]);

describe('needrestart', () => {
  const ours = join(CHECKOUT, 'packaging/needrestart.conf');

  it('restarts our services, and none of those of libvirt', async () => {
    for (let order = 0; order < 10; order += 1) {
      expect(await decided(0, ours)).toEqual(Object.fromEntries([...all(OURS, '1'), ...all(LIBVIRTS, '0')]));
    }
  });

  it('would leave ours alone by itself, as they are called like libvirt’s', async () => {
    expect(await decided(0, '/dev/null')).toMatchObject(Object.fromEntries(all(OURS, '0')));
  });

  it('keeps to an administrator who has decided otherwise of libvirt', async () => {
    expect(await decided(1, ours)).toMatchObject({ 'libvirtd.service': '1', [OURS[0] ?? '']: '1' });
  });
});

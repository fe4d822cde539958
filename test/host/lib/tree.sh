# The root tree of the test hosts: Debian, and a kernel from a newer Debian.
# shellcheck shell=bash disable=SC2154  # the files share their variables

build_tree() {
  local tree=$1 mirror pins=$state/pins
  mirror=$(debian_mirror)
  say "making the Debian $debian_release tree"
  rm -rf --one-file-system "$tree"
  # From the newer release comes the kernel, and nothing else.
  cat >"$pins" <<PINS
Package: *
Pin: release n=$kernel_release
Pin-Priority: -1

Package: user-mode-linux
Pin: release n=$kernel_release
Pin-Priority: 990
PINS
  # The mount namespace of its own makes sure that no mount is left if this is interrupted.
  # A mirror may serve the newer release with an expired date, so that is not asked for there.
  unshare --mount --propagation private \
    mmdebstrap --mode=root --variant=minbase \
    --include="$(packages_of "$here/host-packages")" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --setup-hook="install -D -m 644 '$pins' \"\$1/etc/apt/preferences.d/kernel\"" \
    "$debian_release" "$tree" \
    "deb $mirror $debian_release main" "deb [check-valid-until=no] $mirror $kernel_release main" \
    >"$state/logs/tree-build.log" 2>&1 ||
    { tail -n 20 "$state/logs/tree-build.log" >&2; die "building the tree failed; see $state/logs/tree-build.log"; }
  shape_tree "$tree"
  say 'the tree is made'
}

# What packages cannot say: modules where modprobe looks, mount points, and no unit that a test host does not need.
shape_tree() {
  local tree=$1 modules
  modules=$(basename "$tree"/usr/lib/uml/modules/*)
  mkdir -p "$tree/usr/lib/modules"
  ln -s "../uml/modules/$modules" "$tree/usr/lib/modules/$modules"
  chroot "$tree" depmod "$modules"
  mkdir -p "$tree"/mnt/{seed,disks,disk,root,checkout,shared} "$tree/var/lib/minio"
  # Every host gets its own machine id and ssh host key.
  rm -f "$tree"/etc/machine-id "$tree"/var/lib/dbus/machine-id "$tree"/etc/ssh/ssh_host_*
  # libvirt-guests would wait minutes at power-off for guests that do not listen to ACPI.
  systemctl --quiet --root="$tree" mask \
    libvirt-guests.service \
    getty.target getty@.service serial-getty@.service console-getty.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer logrotate.timer \
    e2scrub_all.timer e2scrub_reap.service xfs_scrub_all.timer systemd-tmpfiles-clean.timer \
    modprobe@drm.service modprobe@efi_pstore.service systemd-pstore.service systemd-binfmt.service \
    systemd-firstboot.service sshd-keygen.service ssh.socket
  rm -rf "$tree"/var/cache/apt/*.bin "$tree"/var/lib/apt/lists/*
}

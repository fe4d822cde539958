# The root trees of the test hosts, one for each release of Debian; with the usual one comes a kernel from a newer
# Debian, which runs all of them.
# shellcheck shell=bash disable=SC2154  # the files share their variables

# build_tree RELEASE TREE
build_tree() {
  local release=$1 tree=$2 log=$state/logs/tree-$1-build.log mirror sources pin=()
  mirror=$(debian_mirror)
  say "making the Debian $release tree"
  rm -rf --one-file-system "$tree"
  # A mirror may serve a release that is in the making with an expired date, so that is not asked for.
  sources=("deb [check-valid-until=no] $mirror $release main")
  if [ "$release" = "$debian_release" ]; then
    pin=("--setup-hook=install -D -m 644 '$(pin_kernel)' \"\$1/etc/apt/preferences.d/kernel\"")
    sources+=("deb [check-valid-until=no] $mirror $kernel_release main")
  fi
  # The mount namespace of its own makes sure that no mount is left if this is interrupted.
  unshare --mount --propagation private \
    mmdebstrap --mode=root --variant=minbase \
    --include="$(packages_of "$here/host-packages" "$release")" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    "${pin[@]}" "$release" "$tree" "${sources[@]}" \
    >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; die "building the tree failed; see $log"; }
  [ "$release" = "$debian_release" ] || cp -al "$(tree_path)/usr/lib/uml" "$tree/usr/lib/"
  shape_tree "$tree"
  say "the Debian $release tree is made"
}

# From the newer release comes the kernel, and nothing else.
pin_kernel() {
  cat >"$state/pins" <<PINS
Package: *
Pin: release n=$kernel_release
Pin-Priority: -1

Package: user-mode-linux
Pin: release n=$kernel_release
Pin-Priority: 990
PINS
  echo "$state/pins"
}

# What packages cannot say: modules where modprobe looks, mount points, and no unit that a test host does not need.
shape_tree() {
  local tree=$1 modules
  modules=$(basename "$tree"/usr/lib/uml/modules/*)
  mkdir -p "$tree/usr/lib/modules"
  ln -s "../uml/modules/$modules" "$tree/usr/lib/modules/$modules"
  [ -e "$tree/usr/lib/uml/modules/$modules/modules.dep" ] || chroot "$tree" depmod "$modules"
  mkdir -p "$tree"/mnt/{seed,disks,disk,root,checkout,shared,release} "$tree/var/lib/minio"
  quicken_qemu "$tree"
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

# See quick-clock.c. It calls the kernel by itself, so it goes with the libc of any release.
quicken_qemu() {
  local tree=$1 qemu=/usr/bin/qemu-system-x86_64 clock=/usr/local/lib/quick-clock.so
  gcc -O2 -fPIC -shared -nostdlib -o "$tree$clock" "$here/lib/quick-clock.c"
  mv "$tree$qemu" "$tree$qemu.plain"
  printf '#!/bin/sh\nLD_PRELOAD=%s exec %s.plain "$@"\n' "$clock" "$qemu" >"$tree$qemu"
  chmod +x "$tree$qemu"
}

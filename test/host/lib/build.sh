# Builds what all test hosts share: a Debian root tree with a User-Mode Linux kernel, and MinIO.
# shellcheck shell=bash disable=SC2154  # the files share their variables

# Each part is keyed by what it is made of, so a changed list makes a new folder and
# an unchanged one costs nothing.
key_of() { cat "$@" | sha256sum | cut -c1-12; }
minio_key() { echo "$minio_version $go_version" | sha256sum | cut -c1-12; }
minio_path() { echo "$state/minio-$(minio_key)"; }
tree_path() { echo "$state/tree-$(key_of "$here/host-packages" "$here/lib/versions.sh" "$here/lib/build.sh")"; }

build() {
  local minio tree
  need_root
  make_state_folder
  minio=$(minio_path) tree=$(tree_path)
  # The usual case comes first: everything is there, and nothing is locked or asked of apt.
  [ -d "$tree" ] && return
  exec {build_lock}>"$state/build.lock"
  flock -n "$build_lock" || { say 'another build is running; waiting for it'; flock "$build_lock"; }
  [ -d "$tree" ] && return

  need_packages ca-certificates debian-archive-keyring e2fsprogs iproute2 mmdebstrap openssh-client procps util-linux
  [ -e "$minio" ] || { command -v go >/dev/null || need_packages golang-go; }
  # Compiling and unpacking overlap well: MinIO takes minutes.
  local minio_build=
  [ -e "$minio" ] || { build_minio "$minio" & minio_build=$!; }
  build_tree "$tree.part"
  [ -z "$minio_build" ] || wait "$minio_build" || die "building MinIO failed; see $state/logs/minio-build.log"
  cp "$minio" "$tree.part/usr/local/bin/minio"
  mv "$tree.part" "$tree"
  say "ready: $tree"
  forget_old_builds "$minio" "$tree"
  exec {build_lock}>&-
}

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
  ln -s "../uml/modules/$modules" "$tree/usr/lib/modules/$modules" 2>/dev/null ||
    { mkdir -p "$tree/usr/lib/modules" && ln -s "../uml/modules/$modules" "$tree/usr/lib/modules/$modules"; }
  chroot "$tree" depmod "$modules"
  mkdir -p "$tree"/mnt/{seed,disks,disk,root,checkout,shared} "$tree/var/lib/minio"
  # Every host gets its own machine id and ssh host key.
  rm -f "$tree"/etc/machine-id "$tree"/var/lib/dbus/machine-id "$tree"/etc/ssh/ssh_host_*
  # libvirt-guests would wait minutes at power-off for guests that do not listen to ACPI.
  systemctl --quiet --root="$tree" mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer xfs_scrub_all.timer systemd-tmpfiles-clean.timer getty.target getty@.service serial-getty@.service \
    console-getty.service libvirt-guests.service systemd-firstboot.service sshd-keygen.service ssh.socket
  rm -rf "$tree"/var/cache/apt/*.bin "$tree"/var/lib/apt/lists/*
}

build_minio() {
  local target=$1 module gopath=$state/go version=v0.0.1-go$go_version.linux-amd64
  say "building MinIO $minio_version with Go $go_version"
  # Outside of any module, and deaf to settings that belong to other work on this machine.
  mkdir -p "$gopath" && cd "$gopath" || return
  export GOPATH=$gopath GOCACHE=$gopath/cache GOBIN=$gopath/bin GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-modcacherw
  module=$gopath/pkg/mod/golang.org/toolchain@$version
  {
    go mod download "golang.org/toolchain@$version" &&
      # An older go unpacks the module without knowing that it holds programs.
      chmod +x "$module"/bin/* "$module"/pkg/tool/*/* &&
      "$module/bin/go" install -trimpath -ldflags '-s -w' "github.com/minio/minio@$minio_version"
  } >"$state/logs/minio-build.log" 2>&1 || { tail -n 20 "$state/logs/minio-build.log" >&2; return 1; }
  mv "$gopath/bin/minio" "$target"
  cd / && rm -rf "$gopath"
  say 'MinIO is built'
}

# Old trees go as soon as no host runs that could stand on one.
forget_old_builds() {
  local old name
  for name in "$state"/run/*/; do
    [ ! -d "$name" ] || ! is_alive "$(basename "$name")" || return 0
  done
  for old in "$state"/tree-* "$state"/minio-*; do
    case $old in "$1" | "$2") ;; *) rm -rf --one-file-system "$old" ;; esac
  done
}

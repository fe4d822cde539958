# Builds what all test hosts share: a Debian root tree with a User-Mode Linux kernel, and MinIO.
# shellcheck shell=bash disable=SC2154  # the files share their variables

# Each part is keyed by what it is made of, so a changed list makes a new folder and
# an unchanged one costs nothing.
short_hash() { sha256sum | cut -c1-12; }
minio_path() { echo "$state/minio-$(echo "$minio_version $go_version" | short_hash)"; }
tree_path() { echo "$state/tree-$(cat "$here/host-packages" "$here/lib/versions.sh" "$here/lib/tree.sh" | short_hash)"; }

build() {
  need_root
  make_state_folder
  # The usual case comes first: everything is there, and nothing is locked or asked of apt.
  [ -d "$(tree_path)" ] || with_lock build build_all
}

build_all() {
  local minio tree
  minio=$(minio_path) tree=$(tree_path)
  # Whoever had the lock before us may have built it.
  [ ! -d "$tree" ] || return 0
  need_packages ca-certificates debian-archive-keyring mmdebstrap
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
      GOROOT='' "$module/bin/go" install -trimpath -ldflags '-s -w' "github.com/minio/minio@$minio_version"
  } >"$state/logs/minio-build.log" 2>&1 || { tail -n 20 "$state/logs/minio-build.log" >&2; return 1; }
  mv "$gopath/bin/minio" "$target"
  cd / && rm -rf "$gopath"
  say 'MinIO is built'
}

# Old builds go, but not a tree that a host stands on, be it up or off.
forget_old_builds() {
  local old
  for old in "$state"/tree-* "$state"/minio-*; do
    [[ $old = "$1" || $old = "$2" ]] || grep -qsxF "$old" "$state"/run/*/tree || rm -rf --one-file-system "$old"
  done
}

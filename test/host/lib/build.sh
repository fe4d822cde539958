# Builds what all test hosts share: a Debian root tree with a User-Mode Linux kernel, MinIO, and a key server. And,
# for contract tests on this machine itself, a second S3 server by other people.
# shellcheck shell=bash disable=SC2154  # the files share their variables

# Each part is keyed by what it is made of, so a changed list makes a new folder and
# an unchanged one costs nothing.
short_hash() { sha256sum | cut -c1-12; }
minio_path() { echo "$state/minio-$(echo "$minio_version $go_version" | short_hash)"; }
# Not among versions.sh: no host holds it. Its go.mod asks for a newer Go than MinIO was tried with.
versitygw_version=v1.8.0
versitygw_go_version=1.26.8
versitygw_path() { echo "$state/versitygw-$(echo "$versitygw_version $versitygw_go_version" | short_hash)"; }
# tree_path [RELEASE]
tree_path() {
  echo "$state/tree-${1:-$debian_release}-$(cat "$here/host-packages" "$here"/lib/{versions.sh,tree.sh,quick-clock.c} | short_hash)"
}

# build [RELEASE]: what hosts of that release need besides what all need.
build() {
  need_root
  make_state_folder
  # The usual case comes first: everything is there, and nothing is locked or asked of apt.
  everything_is_built || with_lock build build_all
  [ -d "$(tree_path "$@")" ] || with_lock build build_other_release "$1"
}

everything_is_built() { [ -d "$(tree_path)" ] && [ -e "$(versitygw_path)" ] && [ -d "$(key_server_path)" ]; }

build_other_release() {
  local tree
  tree=$(tree_path "$1")
  [ ! -d "$tree" ] || return 0
  build_tree "$1" "$tree.part"
  finish_tree "$tree"
}

finish_tree() {
  cp "$(minio_path)" "$1.part/usr/local/bin/minio"
  mv "$1.part" "$1"
  say "ready: $1"
}

build_all() {
  local minio tree versitygw key_server
  minio=$(minio_path) tree=$(tree_path) versitygw=$(versitygw_path) key_server=$(key_server_path)
  # Whoever had the lock before us may have built it.
  ! everything_is_built || return 0
  need_packages ca-certificates debian-archive-keyring mmdebstrap
  command -v gcc >/dev/null || need_packages gcc
  python3 -c 'import ensurepip' 2>/dev/null || need_packages python3-venv
  { [ -e "$minio" ] && [ -e "$versitygw" ]; } || command -v go >/dev/null || need_packages golang-go
  # Compiling and unpacking overlap well: the S3 servers take minutes.
  local servers_build=
  build_servers "$minio" "$versitygw" & servers_build=$!
  local made=$tree
  [ -d "$tree" ] || { made=$tree.part; build_tree "$debian_release" "$made"; }
  [ -d "$key_server" ] || build_key_server "$key_server" "$made"
  wait "$servers_build" || die "building the S3 servers failed; see $state/logs/*-build.log"
  [ -d "$tree" ] || finish_tree "$tree"
  forget_old_builds "$minio" "$versitygw" "$key_server"
}

# One after the other: each keeps all processors busy.
build_servers() {
  [ -e "$1" ] || build_go_program "$1" minio "github.com/minio/minio@$minio_version" "$go_version" || return
  [ -e "$2" ] || build_go_program "$2" versitygw \
    "github.com/versity/versitygw/cmd/versitygw@$versitygw_version" "$versitygw_go_version"
}

# build_go_program TARGET PROGRAM PACKAGE@VERSION GO-VERSION
build_go_program() {
  local target=$1 program=$2 package=$3 module gopath=$state/go version=v0.0.1-go$4.linux-amd64
  local log=$state/logs/$program-build.log
  say "building $package with Go $4"
  # Outside of any module, and deaf to settings that belong to other work on this machine.
  mkdir -p "$gopath" && cd "$gopath" || return
  export GOPATH=$gopath GOCACHE=$gopath/cache GOBIN=$gopath/bin GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-modcacherw
  module=$gopath/pkg/mod/golang.org/toolchain@$version
  {
    go mod download "golang.org/toolchain@$version" &&
      # An older go unpacks the module without knowing that it holds programs.
      chmod +x "$module"/bin/* "$module"/pkg/tool/*/* &&
      GOROOT='' "$module/bin/go" install -trimpath -ldflags '-s -w' "$package"
  } >"$log" 2>&1 || { tail -n 20 "$log" >&2; return 1; }
  mv "$gopath/bin/$program" "$target"
  cd / && rm -rf "$gopath"
  say "$program is built"
}

# Old builds go, but not what a host stands on, be it up or off.
forget_old_builds() {
  local old current
  current=$(tree_path)
  for old in "$state"/tree-* "$state"/minio-* "$state"/versitygw-* "$state"/key-server-*; do
    # Trees of all releases end alike, and what was made of them begins with their names.
    [[ $old = "$1" || $old = "$2" || $old = "$3" || $old = *"-${current##*-}"* ]] || grep -qsxF "$old" "$state"/run/*/{tree,key-server} || rm -rf --one-file-system "$old"
  done
}

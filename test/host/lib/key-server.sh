# A key server for test hosts: Keystone and Barbican, from Python packages. It is built once, and stays outside of
# the hosts' tree: only a host that is asked to run it gets to see it.
# shellcheck shell=bash disable=SC2154  # the files share their variables

# key-server-packages says what it is made of; the tree, for which Python.
key_server_path() {
  echo "$state/key-server-$({ cat "$here/key-server-packages" "$here/lib/key-server.sh"; basename "$(tree_path)"; } | short_hash)"
}

# build_key_server TARGET TREE: the tree, which may be unfinished, has the Python that it is for.
build_key_server() {
  local target=$1 tree=$2 log=$state/logs/key-server-build.log
  say 'installing the key server'
  rm -rf --one-file-system "$target.part"
  mkdir -p "$target.part"
  { install_key_server_packages "$target.part" "$tree" && shape_key_server "$target.part" "$tree"; } >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; die "building the key server failed; see $log"; }
  mv "$target.part" "$target"
  say 'the key server is installed'
}

# This machine's pip does it, which need not be of the same Python: the packages come ready-made, and all that they
# ask for is in the list.
install_key_server_packages() {
  local version
  version=$(chroot "$2" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])') &&
    python3 -m venv "$1/venv" &&
    "$1/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary=:all: \
      --implementation cp --python-version "$version" --target "$1/site" --requirement "$here/key-server-packages" &&
    rm -r "$1/venv"
}

# What would take seconds in each host: compiling, and making the databases' tables. By the tree's Python, and where
# the host will see it; namespaces of its own leave no mount behind.
shape_key_server() {
  # shellcheck disable=SC2016  # the inner shell expands them
  unshare --mount --propagation private bash -euc '
    mount -t tmpfs tmpfs "$1/mnt/shared"
    mkdir "$1/mnt/shared/key-server"
    mount --bind "$2" "$1/mnt/shared/key-server"
    mount -t tmpfs tmpfs "$1/tmp"
    exec chroot "$1" bash -euc "$3"' - "$2" "$1" '
    cd /mnt/shared/key-server
    python3 -m compileall -q -j 0 "$PWD/site" || true
    export PYTHONPATH=$PWD/site
    printf "[database]\nconnection = sqlite:///%s\n" "$PWD/keystone.db" >/tmp/keystone.conf
    python3 site/bin/keystone-manage --config-file /tmp/keystone.conf db_sync
    python3 site/bin/barbican-db-manage --dburl "sqlite:///$PWD/barbican.db" upgrade'
}

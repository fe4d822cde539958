# The tree with the provisioner's package in it, as its users have it, for each state of the checkout.
# shellcheck shell=bash disable=SC2154  # the files share their variables

packaged_tree_path() { echo "$(tree_path)-package-$(packaged_files | short_hash)"; }

# What goes into the package, and what makes it.
packaged_files() {
  (cd "$checkout" && find package.json package-lock.json README.md docs src hooks libvirt-xml systemd packaging \
    -type f -print0 | sort -z | xargs -0 sha256sum)
}

build_packaged() { [ -d "$(packaged_tree_path)" ] || with_lock package build_packaged_tree; }

# All that dpkg changes it makes anew and then renames, so the files of the plain tree can be shared with it, but
# for logs. Nothing runs there: units are enabled, and started when a host boots from it.
build_packaged_tree() {
  local tree part deb
  tree=$(packaged_tree_path)
  [ ! -d "$tree" ] || return 0
  forget_packaged_trees
  part=$tree.part
  rm -rf --one-file-system "$part"
  cp -al "$(tree_path)" "$part"
  rm -rf "$part"/var/log/dpkg.log "$part"/var/log/apt "$part"/var/log/alternatives.log
  deb=$("$checkout/packaging/build" --anonymous --compression none --output "$part/tmp")
  # What postinst calls wants to see /proc. Namespaces of its own leave no mount behind.
  # shellcheck disable=SC2016  # the inner shell expands them
  unshare --mount --propagation private --pid --fork bash -c \
    'mount -t proc proc "$1/proc" && chroot "$1" dpkg --install "$2"' - "$part" "/tmp/${deb##*/}" \
    >"$state/logs/package-install.log" 2>&1 ||
    { tail -n 20 "$state/logs/package-install.log" >&2; die 'the package cannot be installed'; }
  rm "$deb"
  mv "$part" "$tree"
}

forget_packaged_trees() {
  local old
  for old in "$state"/tree-*-package-*; do
    grep -qsxF "$old" "$state"/run/*/tree || rm -rf --one-file-system "$old"
  done
}

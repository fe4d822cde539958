# The life of a host: up, kill, boot, poweroff, down; and of the key server in it.
# shellcheck shell=bash disable=SC2154  # the files share their variables
#
# A host is one process namespace, with a mount and a network namespace of its own. Its first
# process is lib/supervise. When that one dies the kernel ends all the others, and then mounts,
# network and memory go as well: there is nothing to clean up but the files in .host/run/NAME.
#
# A host that was begun with a peer lives in the peer's network namespace, which goes with the last of both: so
# two hosts see each other, nobody else sees them, and no port of this machine is taken. Its second volume group is
# the peer's, on the same file: both hosts see it, as if it lay on a storage network.

run_path() { echo "$state/run/$1"; }

# Every process of a host's life holds this lock; so who gets it knows that the last one has gone.
is_alive() { [ -e "$(run_path "$1")/alive" ] && ! flock -n "$(run_path "$1")/alive" true; }
wait_gone() { [ ! -e "$(run_path "$1")/alive" ] || flock -w "$2" "$(run_path "$1")/alive" true; }
need_host() { [ -d "$(run_path "$1")/disks" ] || die "there is no host '$1'; see host list"; }
need_alive() { need_host "$1"; is_alive "$1" || die "host '$1' is off; host boot $1"; }

up() {
  local name=$1 peer=$2 installed=$3 release=$4 run tree
  [[ $name =~ ^[a-z][a-z0-9-]{0,30}$ ]] || die "'$name' cannot be a host name: use a-z, 0-9 and -"
  is_release "$release" || die "hosts are made of Debian $debian_release, ${other_releases// /, }; '$release' is none of them"
  build "$release"
  need_packages e2fsprogs iproute2 openssh-client util-linux
  tree=$(tree_path "$release")
  if [ "$installed" = yes ]; then
    build_packaged
    tree=$(packaged_tree_path)
  fi
  is_alive "$name" && die "host '$name' is up already; host down $name ends it"
  [ -z "$peer" ] || need_alive "$peer"
  down "$name"
  run=$(run_path "$name")
  mkdir -p "$run"/{disks,shared,seed}
  # A host keeps the tree that it began with, whatever is built meanwhile.
  echo "$tree" >"$run/tree"
  # The program that is its kernel comes from the usual one.
  if [ "$release" = "$debian_release" ]; then echo "$tree"; else tree_path; fi >"$run/kernel"
  [ -z "$peer" ] || echo "$peer" >"$run/peer"
  with_lock address take_address "$name"
  make_disks "$run/disks"
  make_seed "$name" "$run/seed"
  boot "$name"
  [ -z "$peer" ] || introduce "$name" "$peer"
}

is_release() { [[ " $debian_release $other_releases " = *" $1 "* ]]; }

# Each knows the other by its name: there is no name server.
introduce() {
  run_ssh "$1" "echo $(address_of "$2") $2 >>/etc/hosts"
  run_ssh "$2" "echo $(address_of "$1") $1 >>/etc/hosts"
}

# Addresses are numbered, so that hosts can be joined to one network.
take_address() {
  local number
  for number in {2..250}; do
    grep -qsx "10.77.0.$number" "$state"/run/*/address || break
  done
  echo "10.77.0.$number" >"$(run_path "$1")/address"
}

# Sparse files: the host's own disk, and one physical volume for each volume group.
make_disks() {
  truncate -s 30G "$1/root.img"
  truncate -s 40G "$1/vg0.img"
  truncate -s 10G "$1/vg1.img"
  mke2fs -q -t ext4 -F -E lazy_itable_init=1,lazy_journal_init=1 -m 0 "$1/root.img"
}

# The kernel has one processor. It and its programs take turns all the time, in processes of this machine, and on two
# processors each turn wakes another one up: the same work takes twice as long. Hosts of neighbouring numbers get
# different ones.
processor_of() {
  local word allowed part all=() address=$1
  while read -r word allowed; do [ "$word" != Cpus_allowed_list: ] || break; done </proc/self/status
  for part in ${allowed//,/ }; do mapfile -t -O ${#all[@]} all < <(seq "${part%-*}" "${part#*-}"); done
  echo "${all[${address##*.} % ${#all[@]}]}"
}

# What the host reads when it boots: our files, and a key for us to come in with.
make_seed() {
  local name=$1 seed=$2 run
  run=$(run_path "$name")
  cp -r --preserve=mode "$here/guest/." "$seed/"
  ssh-keygen -q -t ed25519 -N '' -C "test host $name" -f "$run/key"
  ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$seed/ssh_host_ed25519_key"
  cp "$run/key.pub" "$seed/authorized_keys"
  echo "$name $(cat "$seed/ssh_host_ed25519_key.pub")" >"$run/known_hosts"
  chmod -R u=rwX,go=rX "$seed"
  chmod 600 "$seed/ssh_host_ed25519_key"
}

boot() {
  local name=$1 run started=$SECONDS peer network=(unshare --net) joined=
  need_root
  need_host "$name"
  run=$(run_path "$name")
  if [ -e "$run/peer" ]; then
    peer=$(cat "$run/peer")
    need_alive "$peer"
    network=(nsenter --target "$(cat "$(run_path "$peer")/pid")" --net)
    joined=$(run_path "$peer")/disks/vg1.img
  fi
  exec {alive}>"$run/alive"
  flock -n "$alive" || die "host '$name' is up already"
  rm -f "$run/pid" "$run/ssh"
  # A boot that fails or is interrupted leaves no kernel running.
  # shellcheck disable=SC2064  # the name is fixed now
  trap "cut_power '$name'" EXIT
  trap 'exit 130' INT TERM
  setsid taskset --cpu-list "$(processor_of "$(cat "$run/address")")" "${network[@]}" unshare --mount --propagation private --pid --fork --kill-child \
    "$here/lib/supervise" "$(cat "$run/kernel")" "$(cat "$run/tree")" "$run" "$checkout" "${LVP_HOST_MEMORY:-5G}" "$joined" \
    <>/dev/null >"$run/console.log" 2>&1 &
  exec {alive}>&-
  wait_until 300 came_up_or_died "$name" || boot_failed "$name" 'no answer after 300 s'
  is_alive "$name" || boot_failed "$name" 'the kernel ended'
  # systemd says "running" once every unit it wants is active, ours among them.
  local verdict
  verdict=$(run_ssh "$name" systemctl is-system-running --wait) ||
    say "host '$name' is $verdict: $(run_ssh "$name" systemctl --failed --plain --no-legend)"
  [ "$verdict" = running ] || [ "$verdict" = degraded ] || boot_failed "$name" "systemd is '$verdict'"
  trap - EXIT INT TERM
  say "host '$name' is up after $((SECONDS - started)) s"
}

came_up_or_died() { ! is_alive "$1" || { [ -s "$(run_path "$1")/pid" ] && open_ssh "$1"; }; }

boot_failed() {
  tail -n 30 "$(run_path "$1")/console.log" >&2
  die "host '$1' did not come up: $2; its console is above"
}

# A power cut: no process gets a chance to write another byte.
cut_power() {
  local name=$1 run pid
  run=$(run_path "$name")
  is_alive "$name" || return 0
  wait_until 10 test -s "$run/pid" || die "host '$name' has written no process id"
  pid=$(cat "$run/pid")
  kill -KILL "$pid"
  wait_gone "$name" 30 || die "processes of host '$name' are left: $pid and its children"
}

poweroff() {
  need_alive "$1"
  # The connection breaks before the answer comes, so the exit code says nothing.
  run_ssh "$1" systemctl poweroff 2>/dev/null || true
  wait_gone "$1" 120 || die "host '$1' is still there 120 s after poweroff"
}

down() {
  need_root
  cut_power "$1"
  rm -rf --one-file-system "$(run_path "$1")"
}

list() {
  local run name
  for run in "$state"/run/*/; do
    [ -d "$run/disks" ] || continue
    name=$(basename "$run")
    if is_alive "$name"; then printf '%s\tup\t%s\n' "$name" "$(cat "$run/address")"; else printf '%s\toff\n' "$name"; fi
  done
}

# key_server_up NAME: what it has made of itself lies on the host's disk, and is there after a boot.
key_server_up() {
  local name=$1 run seen
  need_alive "$name"
  build
  run=$(run_path "$name")
  cmp -s "$run/kernel" "$run/tree" || die "the key server runs in hosts of $debian_release; '$name' is none"
  # As with its tree, a host keeps the one that it began with.
  [ -e "$run/key-server" ] || key_server_path >"$run/key-server"
  mkdir -p "$run/shared/key-server"
  seen=$(cat "$run/kernel")/mnt/shared/key-server
  in_mounts_of "$name" mountpoint --quiet "$seen" ||
    in_mounts_of "$name" mount --bind --options ro "$(cat "$run/key-server")" "$seen"
  run_ssh "$name" /mnt/seed/key-server/start
}

in_mounts_of() { nsenter --target "$(cat "$(run_path "$1")/pid")" --mount -- "${@:2}"; }

key_server_down() {
  need_alive "$1"
  run_ssh "$1" systemctl stop barbican keystone
}

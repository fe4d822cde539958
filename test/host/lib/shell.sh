# Talking to a host: ssh through its network namespace.
# shellcheck shell=bash disable=SC2154  # the files share their variables

# One connection carries all commands. Who finds it broken comes in directly, which is only slower:
# that is why even a command over the connection is started in the namespace.
# The socket's path must be short, hence relative.
ssh_in() {
  local name=$1 run
  shift
  run=$(run_path "$name")
  cd "$run" || die "there is no host '$name'"
  nsenter --target "$(cat pid)" --net \
    ssh -F none -i key -o UserKnownHostsFile=known_hosts -o HostKeyAlias="$name" -o StrictHostKeyChecking=yes \
    -o IdentitiesOnly=yes -o LogLevel=ERROR -o ConnectTimeout=5 -o ControlPath=ssh \
    "$@"
}

# Opens that connection. It lives among the host's processes, and so dies with them.
open_ssh() {
  local name=$1 run pid
  run=$(run_path "$name")
  pid=$(cat "$run/pid")
  (
    cd "$run" || exit
    nsenter --target "$pid" --net --pid \
      ssh -F none -i key -o UserKnownHostsFile=known_hosts -o HostKeyAlias="$name" -o StrictHostKeyChecking=yes \
      -o IdentitiesOnly=yes -o LogLevel=ERROR -o ConnectTimeout=5 -o ControlPath=ssh \
      -o ControlMaster=yes -fN "root@$(cat address)" >/dev/null 2>&1 </dev/null
  )
}

# One argument is a line for the shell; several are a command and its arguments, passed on exactly.
run_ssh() {
  local name=$1 command
  shift
  if [ $# = 1 ]; then command=$1; else command=$(printf '%q ' "$@"); fi
  (ssh_in "$name" -T "root@$(cat "$(run_path "$name")/address")" "$command")
}

shell() {
  local name=$1
  shift
  need_alive "$name"
  [ $# -gt 0 ] || { (ssh_in "$name" -t "root@$(cat "$(run_path "$name")/address")"); return; }
  run_ssh "$name" "$@"
}

# Puts a file into the bucket "images". The secret goes to curl on its standard input, never into arguments.
put() {
  local name=$1 file=$2 key=$3 sidecar=$4 shared
  need_alive "$name"
  [ -f "$file" ] || die "no such file: $file"
  shared=$(mktemp -d "$(run_path "$name")/shared/put-XXXXXX")
  # shellcheck disable=SC2064  # the folder's name is fixed now
  trap "rm -rf '$shared'" EXIT
  ln "$file" "$shared/object" 2>/dev/null || cp --reflink=auto --sparse=always "$file" "$shared/object"
  put_object "$name" "/mnt/shared/$(basename "$shared")/object" "$key"
  if [ "$sidecar" = yes ]; then
    printf '%s  %s\n' "$(sha256sum <"$file" | cut -d' ' -f1)" "$(basename "$key")" >"$shared/sha256"
    put_object "$name" "/mnt/shared/$(basename "$shared")/sha256" "$key.sha256"
  fi
}

put_object() { run_ssh "$1" /mnt/seed/s3 "images/$3" --upload-file "$2" </dev/null; }

logs() {
  need_host "$1"
  echo '== console'
  tail -n 200 "$(run_path "$1")/console.log"
  is_alive "$1" || { echo '== the host is off'; return; }
  # shellcheck disable=SC2016  # expanded in the host
  run_ssh "$1" 'echo "== journal"; journalctl --no-pager --boot --output short-precise
    for file in /var/log/libvirt/libvirtd.log /var/log/libvirt/qemu/*.log /var/log/libvirt-volume-provisioner/*; do
      [ -f "$file" ] && echo "== $file" && cat "$file"
    done
    echo "== volumes"; lvs --all --options +tags; virsh list --all; virsh pool-list --all'
}

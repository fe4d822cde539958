# Talking to a host: ssh through its network namespace.
# shellcheck shell=bash disable=SC2154  # the files share their variables

# One connection carries all commands. Who finds it broken comes in directly, which is only slower:
# that is why even a command over the connection is started in the namespace.
# Takes the place of the calling (sub)shell, so that signals reach ssh and nothing stands between.
exec_ssh() {
  local name=$1 namespaces=$2
  shift 2
  # The socket's path must be short, hence relative.
  cd "$(run_path "$name")" || exit
  # shellcheck disable=SC2086  # a list of options
  exec nsenter --target "$(cat pid)" $namespaces \
    ssh -F none -i key -o IdentitiesOnly=yes -o LogLevel=ERROR -o ConnectTimeout=5 -o ControlPath=ssh \
    -o UserKnownHostsFile=known_hosts -o HostKeyAlias="$name" -o StrictHostKeyChecking=yes \
    -l root "$@"
}

address_of() { cat "$(run_path "$1")/address"; }

# Opens that connection. It joins the host's processes, and so dies with them.
open_ssh() {
  (exec_ssh "$1" '--net --pid' -o ControlMaster=yes -fN "$(address_of "$1")") </dev/null >/dev/null 2>&1
}

# One argument is a line for the shell; several are a command and its arguments, passed on exactly.
exec_command() {
  local name=$1 command
  shift
  if [ $# = 1 ]; then command=$1; else command=$(printf '%q ' "$@"); fi
  exec_ssh "$name" --net -T "$(address_of "$name")" "$command"
}

run_ssh() { (exec_command "$@"); }

shell() {
  need_alive "$1"
  if [ $# = 1 ]; then exec_ssh "$1" --net -t "$(address_of "$1")"; else exec_command "$@"; fi
}

# Puts a file into the bucket "images". The secret goes to curl on its standard input, never into arguments.
put() {
  local name=$1 file=$2 key=$3 sidecar=$4 shared
  need_alive "$name"
  [ -f "$file" ] || die "no such file: $file"
  shared=$(mktemp -d "$(run_path "$name")/shared/put-XXXXXX")
  # shellcheck disable=SC2064  # the folder's name is fixed now
  trap "rm -rf '$shared'" EXIT
  ln -L "$file" "$shared/object" 2>/dev/null || cp --reflink=auto --sparse=always "$file" "$shared/object"
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
  run_ssh "$1" 'echo "== journal"; journalctl --no-pager --output short-precise
    for file in /var/log/libvirt/libvirtd.log /var/log/libvirt/qemu/*.log /var/log/libvirt-volume-provisioner/*; do
      [ -f "$file" ] && echo "== $file" && cat "$file"
    done
    echo "== volumes"; lvs --all --options +tags; virsh list --all; virsh pool-list --all'
}

# Paths, messages and small helpers for all verbs.
# shellcheck shell=bash disable=SC2034,SC2154  # the files share their variables

checkout=$(cd "$here/../.." && pwd -P)
state=${LVP_HOST_DIR:-$checkout/.host}

say() { printf '[%4d s] %s\n' "$SECONDS" "$*" >&2; }
die() { printf 'host: %s\n' "$*" >&2; exit 1; }

# Everything we make lies below one folder, and that folder hides itself from git.
make_state_folder() {
  mkdir -p "$state/run" "$state/logs"
  [ -e "$state/.gitignore" ] || echo '*' >"$state/.gitignore"
}

need_root() { [ "$(id -u)" = 0 ] || die 'must be run as root: it makes namespaces, mounts and a root tree'; }

# packages_of LIST [RELEASE]: one name a line, comments from # on, and for which releases in brackets.
packages_of() {
  local package only
  while read -r package only; do
    case $only in
      '') ;;
      '[!'*) [ "$only" != "[!${2:-}]" ] || continue ;;
      *) [ "$only" = "[${2:-}]" ] || continue ;;
    esac
    echo "$package"
  done < <(sed 's/#.*//; /^ *$/d' "$1") | xargs
}

# Installs Debian packages on this machine, if they are missing.
need_packages() {
  local package missing=()
  for package; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing on this machine: ${missing[*]}"
  apt-get -qq update >&2
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >"$state/logs/apt.log" 2>&1 ||
    { tail -n 20 "$state/logs/apt.log" >&2; die "apt-get install failed: ${missing[*]}"; }
}

# The Debian mirror is the one this machine is configured with.
debian_mirror() {
  local mirror
  # shellcheck disable=SC2016  # apt's own variable, not the shell's
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
  [ -n "$mirror" ] || die 'apt on this machine knows no Debian mirror; run apt-get update'
  printf '%s\n' "$mirror"
}

# Waits for a condition: wait_until SECONDS COMMAND... It fails when the time is over.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# Runs a function while nobody else runs one under that lock. In a subshell, so that the lock is not
# inherited by what is started later.
with_lock() (
  exec {lock}>"$state/$1.lock"
  flock -n "$lock" || { say "another $1 is running; waiting for it"; flock "$lock"; }
  "${@:2}"
)

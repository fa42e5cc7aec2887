# Shared by the scripts of this folder: what the machine must have, and how time is said.
# shellcheck shell=bash

# Gigabytes that a cold run needs below target/, and megabytes below the cargo home.
DISK_TARGET_GB=9
DISK_CARGO_MB=700
NODE_AT_LEAST=20
POSTGRES_AT_LEAST=15

minutes() {
  printf '%d:%02d min' $(($1 / 60)) $(($1 % 60))
}

has() {
  command -v "$1" >/dev/null 2>&1
}

find_chromium() {
  local name
  for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
    if [ -n "$name" ] && has "$name"; then command -v "$name"; return 0; fi
  done
  return 1
}

# A Python that has aiosmtpd, the mail server of the tests. Debian's package is for Debian's own Python.
find_mail_python() {
  local name
  for name in python3 /usr/bin/python3; do
    if has "$name" && "$name" -c 'import aiosmtpd.smtp' >/dev/null 2>&1; then echo "$name"; return 0; fi
  done
  return 1
}

# Version and folder of the newest PostgreSQL's programs. Debian keeps every version in a folder of its own, outside PATH.
newest_postgres() {
  local folder version newest=0 found=
  for folder in /usr/lib/postgresql/*/bin "$(dirname "$(command -v initdb || echo /none/initdb)")"; do
    if [ -x "$folder/initdb" ] && [ -x "$folder/psql" ]; then
      version=$("$folder/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
      if [ "$version" -gt "$newest" ]; then newest=$version found=$folder; fi
    fi
  done
  [ "$newest" -gt 0 ] && echo "$newest $found"
}

find_postgres() {
  local newest
  newest=$(newest_postgres) && [ "${newest%% *}" -ge $POSTGRES_AT_LEAST ] && echo "${newest#* }"
}

# Debian puts it where only root's PATH leads.
find_pgbouncer() {
  command -v pgbouncer || { [ -x /usr/sbin/pgbouncer ] && echo /usr/sbin/pgbouncer; }
}

# Sets `packages` (of Debian and its kin) and `problems` (what no package mends).
look() {
  packages=() problems=()
  local pinned node found free
  pinned=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml)
  if ! has cargo; then
    problems+=("cargo is missing: install rustup (https://rustup.rs), which fetches Rust $pinned by itself")
  elif [ "$(rustc --version 2>/dev/null | cut -d' ' -f2)" != "$pinned" ]; then
    problems+=("Rust $pinned is needed, 'rustc --version' says '$(rustc --version 2>&1 | tail -n 1)': rustup toolchain install $pinned --profile minimal -c rustfmt -c clippy")
  else
    cargo fmt --version >/dev/null 2>&1 || problems+=("rustfmt is missing: rustup component add rustfmt")
    cargo clippy --version >/dev/null 2>&1 || problems+=("clippy is missing: rustup component add clippy")
  fi
  has cc || packages+=(gcc libc6-dev)
  has c++ || packages+=(g++)
  has git || packages+=(git)
  has curl || packages+=(curl)
  has script || packages+=(bsdutils)
  if ! has node; then
    packages+=(nodejs)
  else
    node=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
    [ "$node" -ge $NODE_AT_LEAST ] || problems+=("node $node is too old: install Node.js $NODE_AT_LEAST or newer (https://nodejs.org)")
  fi
  has npm || packages+=(npm)
  find_chromium >/dev/null || packages+=(chromium)
  find_mail_python >/dev/null || packages+=(python3-aiosmtpd)
  [ -x /usr/sbin/cron ] || packages+=(cron)
  has unshare || packages+=(util-linux)
  has openssl || packages+=(openssl)
  if ! find_postgres >/dev/null; then
    if found=$(newest_postgres); then
      problems+=("PostgreSQL ${found%% *} is too old: install PostgreSQL $POSTGRES_AT_LEAST or newer (https://www.postgresql.org/download)")
    else
      packages+=(postgresql)
    fi
  fi
  find_pgbouncer >/dev/null || packages+=(pgbouncer)
  if [ "$needs_root" = yes ] && ! as_root true 2>/dev/null; then
    problems+=("root, or sudo that asks nothing, is needed by the step night: it runs cron in namespaces of its own")
  fi
  # A target that is built already needs no more room than its next build.
  local target=${CARGO_TARGET_DIR:-target} needed=$DISK_TARGET_GB
  [ ! -d "$target/debug/deps" ] || needed=2
  free=$(df -Pk "$([ -d "$target" ] && echo "$target" || echo .)" | awk 'NR == 2 { print int($4 / 1048576) }')
  [ "$free" -ge "$needed" ] || problems+=("disk: $free GB are free for $target, $needed GB are needed: make room, or set CARGO_TARGET_DIR")
  local home=${CARGO_HOME:-$HOME/.cargo}
  free=$(df -Pk "$([ -d "$home" ] && echo "$home" || echo "$HOME")" | awk 'NR == 2 { print int($4 / 1024) }')
  [ "$free" -ge $DISK_CARGO_MB ] || problems+=("disk: $free MB are free for $home, $DISK_CARGO_MB MB are needed: make room, or set CARGO_HOME")
}

# Runs a command as root; fails where that would ask for a password that nobody can type.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    sudo -n "$@"
  fi
}

# Runs a command; Debian starts no service that it installs. The checks start what they need, as their own.
without_services() {
  local rule=/usr/sbin/policy-rc.d status=0
  if [ -e $rule ]; then
    "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' | as_root tee $rule >/dev/null
  as_root chmod 755 $rule
  "$@" || status=$?
  as_root rm -f $rule
  return $status
}

# Fails with all that is missing, after installing what it may and can: INSTALL NEEDS_ROOT, each yes or no.
check_machine() {
  local install=$1 needs_root=$2
  look
  if [ "$install" = yes ] && [ ${#packages[@]} -gt 0 ] && has apt-get; then
    if as_root true 2>/dev/null; then
      echo "== installing: ${packages[*]}"
      as_root apt-get update -qq
      without_services as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
      look
    fi
  fi
  if [ ${#packages[@]} -gt 0 ] || [ ${#problems[@]} -gt 0 ]; then
    echo "This machine lacks what the checks need:" >&2
    local problem
    for problem in "${problems[@]}"; do echo "  - $problem" >&2; done
    if [ ${#packages[@]} -gt 0 ]; then
      echo "  - packages: sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages[*]}" >&2
    fi
    exit 1
  fi
  echo "== machine: $(nproc) cores, $(rustc --version), node $(node --version), $(find_chromium), PostgreSQL $(newest_postgres | cut -d' ' -f1)"
}

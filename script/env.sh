# Sourced by every script: what a build of Quintet needs, installed where it is missing.
#
# RocksDB takes 10 minutes and more to compile, and every cargo target directory would compile its
# own. It is therefore built once into a cache apart from the target directories, and every build
# links that library. Plain `cargo build` works without this file too; it only compiles RocksDB
# itself.
#
#   QUINTET_CACHE   where the cache lives (default ~/.cache/quintet)

QUINTET_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
QUINTET_CACHE="${QUINTET_CACHE:-$HOME/.cache/quintet}"
ROCKSDB_CRATE_VERSION="0.25.0"
ROCKSDB_FEATURES="lz4"
ROCKSDB_PACKAGES=(clang libclang-dev make)

# step TEXT: what is happening now, on standard error, so that output stays usable by programs.
step() { printf '==> %s\n' "$*" >&2; }

# die TEXT: one line that says what to do, then stop.
die() { printf 'error: %s\n' "$*" >&2; exit 2; }

# usage: the head of the script that runs, which is its help.
usage() { awk 'NR == 1 && /^#!/ { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }

# help_if_asked ARGUMENT…: the answer to --help, before anything is installed or built.
help_if_asked() {
  case "${1:-}" in -h | --help) usage; exit 0 ;; esac
}

# no_arguments ARGUMENT…: for a script that takes none but --help.
no_arguments() {
  help_if_asked "$@"
  [ $# = 0 ] || die "$(basename "$0") takes no arguments, and got '$*'; --help says what it does"
}

# beside COMMAND…: starts it in the background; its process id is then in $beside, and its failure is for whoever
# waits for it. It has a process group of its own: what is in the background of a script does not hear Ctrl-C by itself,
# and of a tree of processes the group is what can be stopped at once.
declare -A beside_groups=()
beside() {
  set -m
  "$@" </dev/null &
  beside=$!
  set +m
  beside_groups[$beside]=runs
}

# within COMMAND…: runs it to its end as `beside` does, so that a signal to the script stops it at once.
within() {
  local code=0 group
  beside "$@"
  group=$beside
  wait "$group" || code=$?
  unset "beside_groups[$group]"
  return "$code"
}

# stop_groups: stops all that `beside` started and that runs still.
stop_groups() {
  local group
  # One that has ended by itself can't be stopped, and need not be.
  for group in "${!beside_groups[@]}"; do kill -TERM -- "-$group" 2>/dev/null || true; done
  beside_groups=()
}

# stop_on_signals: Ctrl-C and the like end the script, and its EXIT trap stops the rest.
stop_on_signals() {
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

# as_root COMMAND…: package installation needs root; use sudo where we are not root.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"
  else die "'$*' needs root: run it yourself as root, then start this script again"; fi
}

# refresh_lists: what packages there are. A mirror that is away is no end: what is needed may be there already.
refresh_lists() {
  as_root apt-get update -qq >&2 || step "apt-get update failed; going on with the lists that are there"
}

# need_packages PACKAGE…: installs the Debian packages that are missing, all in one go.
need_packages() {
  local missing=() p
  for p in "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && return 0
  command -v apt-get >/dev/null || die "install these first (or their equals): ${missing[*]}"
  step "installing ${missing[*]} (about a minute)"
  refresh_lists
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null \
    || { step "could not install ${missing[*]}"; return 2; }
}

# need_rust: a toolchain of the version in rust-toolchain.toml (rustup brings it by itself).
need_rust() {
  command -v cargo >/dev/null || die "Rust is missing: install it with rustup, then start this script again"
  cargo --version >/dev/null || die "cargo does not run here: 'rustup show' tells why"
}

# use_promtool: Prometheus's judge of metrics, for a test. Its Debian package would start a service, so it is
# unpacked into the cache instead. Where it can't be had the test does without.
use_promtool() {
  command -v promtool >/dev/null && return 0
  local dir="$QUINTET_CACHE/promtool" work
  if [ ! -x "$dir/promtool" ] && command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
    step "fetching promtool (about half a minute)"
    work="$(mktemp -d)"
    refresh_lists
    if ( cd "$work" && apt-get download -qq prometheus >/dev/null 2>&1 && dpkg-deb -x prometheus_*.deb . ); then
      mkdir -p "$dir" && mv "$work/usr/bin/promtool" "$dir/promtool"
    fi
    rm -rf "$work"
  fi
  [ -x "$dir/promtool" ] || { step "no promtool: metrics are judged by our own reader alone"; return 0; }
  export QUINTET_PROMTOOL="$dir/promtool"
}

# use_rocksdb: builds the cached library where it is missing, and points this shell's builds at it.
use_rocksdb() {
  need_packages "${ROCKSDB_PACKAGES[@]}" || return 2
  local compiler dir
  compiler="clang$(clang -dumpversion | cut -d. -f1)"
  dir="$QUINTET_CACHE/rocksdb-$ROCKSDB_CRATE_VERSION-$compiler-$ROCKSDB_FEATURES"
  [ -f "$dir/lib/librocksdb.a" ] || build_rocksdb "$dir"
  export ROCKSDB_LIB_DIR="$dir/lib" ROCKSDB_STATIC=1
}

# build_rocksdb DIR: one build at a time a machine; the finished library appears in one step.
build_rocksdb() {
  local dir="$1" work="$1.build" started=$SECONDS
  mkdir -p "$QUINTET_CACHE"
  (
    flock 9
    [ -f "$dir/lib/librocksdb.a" ] && exit 0
    step "building RocksDB once into $dir (10 to 20 minutes on 2 cores; later builds link it)"
    rm -rf "$work" && mkdir -p "$work/src"
    cat > "$work/Cargo.toml" <<TOML
[package]
name = "rocksdb-cache"
version = "0.0.0"
edition = "2024"
[dependencies]
rocksdb = { version = "=$ROCKSDB_CRATE_VERSION", default-features = false, features = ["$ROCKSDB_FEATURES", "bindgen-runtime"] }
[workspace]
TOML
    echo > "$work/src/lib.rs"
    ( cd "$work" && env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CC=clang CXX=clang++ CARGO_TARGET_DIR="$work/target" \
        cargo build --release >"$work/log" 2>&1 ) || { tail -n 30 "$work/log" >&2; exit 1; }
    mkdir -p "$work/lib"
    find "$work/target/release/build" -name 'librocksdb.a' -path '*/out/*' -exec cp {} "$work/lib/" \;
    [ -f "$work/lib/librocksdb.a" ] || { step "no librocksdb.a came out of the build"; exit 1; }
    mkdir -p "$dir" && rm -rf "$dir/lib" && mv "$work/lib" "$dir/lib" && rm -rf "$work"
    step "RocksDB built in $((SECONDS - started)) s"
  ) 9>"$QUINTET_CACHE/lock" || die "RocksDB did not build; the log is $work/log"
}

# sim_cargo COMMAND [OPTION…]: cargo over the simulator, planted bugs included (chosen at run time).
sim_cargo() (
  cd "$QUINTET_ROOT" || return 2
  export RUSTFLAGS="--cfg madsim" CARGO_TARGET_DIR="$QUINTET_ROOT/target/sim"
  cargo "$1" --profile simulation --locked -p quintet-sim --features planted-bugs "${@:2}"
)

# sim_build: builds the simulator and prints its path.
sim_build() {
  local log
  log="$(mktemp)"
  sim_cargo build >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; return 2; }
  rm -f "$log"
  printf '%s\n' "$QUINTET_ROOT/target/sim/simulation/quintet-sim"
}

# source_commit: prints the last commit that changed something of what the simulator is built from, with
# "-dirty" where that is not as committed.
source_commit() {
  local sources=(Cargo.toml Cargo.lock proto server client sim) commit
  commit="$(git -C "$QUINTET_ROOT" log -1 --format=%h --abbrev=12 -- "${sources[@]}" 2>/dev/null)"
  [ -n "$commit" ] || { printf 'unknown\n'; return 0; }
  if [ -n "$(git -C "$QUINTET_ROOT" status --porcelain -- "${sources[@]}")" ]; then
    commit="$commit-dirty"
  fi
  printf '%s\n' "$commit"
}

# Sourced by scripts that measure Quintet beside another system: clusters that start and stop.
#
# `begin_bench` says where everything is; $quintet is the program. What runs is in $running and $server_pids, what loads
# it in $sample_pid: a script stops them whenever it ends, by its function `stop_system`.

running=""        # the name of the system that runs, or nothing
server_pids=()    # its processes
sample_pid=""     # of the load that runs
kept=0

# begin_bench NAME: one of its kind at a time in this checkout, in directories of its own. From here on whatever runs is
# stopped at the end. With $keep = yes what systems leave is kept, for their logs.
begin_bench() {
  # Of whichever system runs. A file system places a directory by its name, and the same load takes up to a fifth longer
  # in one than in another: ext4 on a virtual disk, the very same program in both.
  work="$QUINTET_ROOT/target/$1" data="$QUINTET_ROOT/target/$1/data"
  samples="$work/samples.jsonl" report="$QUINTET_ROOT/target/$1.json"
  mkdir -p "$QUINTET_ROOT/target"
  exec 9>"$QUINTET_ROOT/target/$1.lock"
  flock -n 9 || die "another $1 runs in this checkout"
  # left by a run that could not stop it, or was killed
  if [ -e "$data/cluster.toml" ]; then
    XDG_STATE_HOME="$work/state" "$target/release/quintet" dev stop --dir "$data" || die "a cluster still runs in $data"
  fi
  rm -rf "$work" && mkdir -p "$work"
  # a registry of running clusters of its own: no other cluster of the user is seen or disturbed
  export XDG_STATE_HOME="$work/state"
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

# kill_hard PID…: ends children of this shell at once, and waits for them.
kill_hard() {
  local pid
  for pid; do
    # one that has ended by itself need not be killed
    if kill -0 "$pid" 2>/dev/null; then kill -KILL "$pid"; fi
    # what it says is that it was killed: whether it is gone counts
    if ! wait "$pid" 2>/dev/null && kill -0 "$pid" 2>/dev/null; then
      echo "error: process $pid can't be killed" >&2
      return 1
    fi
  done
}

# stop_running: its data is removed, or kept.
stop_running() {
  [ -z "$running" ] || stop_system || return 1
  if [ "$keep" = yes ] && [ -d "$data" ]; then
    kept=$((kept + 1))
    mv "$data" "$work/$kept-$running" || return 1
  fi
  running="" server_pids=()
  rm -rf "$data"
}

clean_up() {
  local code=$?
  trap - EXIT INT TERM HUP
  [ -z "$sample_pid" ] || kill_hard "$sample_pid"
  stop_running || echo "error: could not stop $running; look in $work" >&2
  [ "$keep" = yes ] || [ -n "$running" ] || rm -rf "$work"
  exit "$code"
}

# finish WHAT: waits for the load in $sample_pid; its JSON line is $sample.
finish() {
  local code=0
  # it is known to clean_up until it has ended
  wait "$sample_pid" || code=$?
  sample_pid=""
  [ "$code" = 0 ] || { cat "$work/sample.err" >&2; die "$1 failed"; }
  sample="$(<"$work/sample")"
}

# pids_of_servers: as loads take them.
pids_of_servers() { local IFS=, && echo "${server_pids[*]}"; }

# wait_for SECONDS WHAT COMMAND…: asks until the command succeeds.
wait_for() {
  local deadline=$((SECONDS + $1)) what="$2"
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || die "$what did not happen in time; logs are in $work (use --keep)"
    sleep 0.1
  done
}

# start_quintet [FLAG…]
start_quintet() {
  running=quintet
  "$quintet" dev --dir "$data" --detach "$@" >"$work/quintet.log" 2>&1 9>&- \
    || { cat "$work/quintet.log" >&2; die "the Quintet cluster did not start"; }
  mapfile -t server_pids < <(cat "$data"/node-*/pid)
  # client addresses, in the order of the nodes
  quintet_nodes="$(sed -n 's/^ *client *= *"\(.*\)"/\1/p' "$data/cluster.toml" | paste -sd,)"
}

stop_quintet() {
  "$quintet" dev stop --dir "$data" >/dev/null
}

# free_base: a port whose nine followers are free too, below the range of outgoing connections.
free_base() {
  local base port tries
  for tries in {1..50}; do
    base=$((20000 + RANDOM % 1000 * 10))
    for port in $(seq "$base" $((base + 9))); do
      (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue 2
    done
    echo "$base" && return 0
  done
  die "found no free ports in $tries tries"
}


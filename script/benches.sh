# Sourced by scripts that measure Quintet beside another system: clusters that start and stop.
#
# They set $work, a directory for logs and samples, and $data, that of whichever system runs; $quintet is the program.
# What runs is in $running and $server_pids, so that a script can stop it whenever it ends.

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
  # a registry of running clusters of its own: no other cluster of the user is seen or disturbed
  export XDG_STATE_HOME="$work/state"
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


#!/usr/bin/env bash
# Three SPUs go on while their control plane's database is put back to an old backup: the cluster is
# frozen, and says so; orders are refused; after `weir control-plane recover` every record that was
# acknowledged before, between and since is read exactly once.
#
#   infra/ci/old_backup.sh [path of weir]
set -euo pipefail
cd "$(dirname "$0")/../.."
weir="$(realpath "${1:-target/debug/weir}")"
for tool in curl pgrep python3; do
  command -v "$tool" >/dev/null && continue
  apt-get update && apt-get install -y --no-install-recommends curl procps python3
done

work=$(mktemp -d)
export WEIR_HOME="$work/home"
control_plane=
cleanup() {
  "$weir" cluster delete --name shop --yes >/dev/null 2>&1 || true
  [ -z "$control_plane" ] || kill "$control_plane" 2>/dev/null || true
  pkill -9 -f "run spu .*$work" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
http="127.0.0.1:$(port)"
rpc="127.0.0.1:$(port)"

start() {
  "$weir" run control-plane --data-dir "$work/control-plane" --clusters-dir "$work/clusters" \
    --http-listen "$http" --rpc-listen "$rpc" 2>> "$work/log" &
  control_plane=$!
  for _ in $(seq 100); do
    curl --silent --fail "http://$http/ready" >/dev/null && return
    python3 -c 'import time; time.sleep(0.1)'
  done
  cat "$work/log"
  return 1
}
stop() {
  kill "$control_plane"
  wait "$control_plane" || true
}
await() { # what `weir cluster status` is to say
  for _ in $(seq 120); do
    "$weir" cluster status > "$work/status" || true
    grep -q "$1" "$work/status" && return
    python3 -c 'import time; time.sleep(0.5)'
  done
  cat "$work/status"
  return 1
}

start
"$weir" cloud connect --url "http://$http" --create --spus 3 shop --key-stdin \
  < "$work/control-plane/admin-key" >/dev/null 2>&1
"$weir" topic create orders --replication 3 >/dev/null
seq 1 1000 | "$weir" produce orders --quiet
stop
cp "$work/control-plane/weir.db" "$work/backup.db"

start
seq 1001 2000 | "$weir" produce orders --quiet
"$weir" topic create later --replication 3 >/dev/null
pkill -9 -f "run spu .*--spu-id 1 .*$work"
await '3 of 3 ready'
seq 2001 3000 | "$weir" produce orders --quiet
stop
cp "$work/backup.db" "$work/control-plane/weir.db"
rm -f "$work/control-plane/weir.db-wal" "$work/control-plane/weir.db-shm"

start
await '^frozen'
grep '^reason' "$work/status"
if "$weir" topic create more 2> "$work/refused"; then
  echo "a frozen cluster took an order"
  exit 1
fi
grep -q 'weir control-plane recover' "$work/refused"
"$weir" control-plane recover shop > "$work/recovered"
grep -q 'unknown to this database' "$work/recovered"
await '3 of 3 ready'
seq 3001 3100 | "$weir" produce orders --quiet
"$weir" consume orders -B -d --quiet | sort -n | cmp - <(seq 1 3100)
echo "taken up again: 3100 records, each once"

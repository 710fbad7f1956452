#!/usr/bin/env bash
# Three SPUs, three copies, a producer and a consumer that go on meanwhile: the leader is killed,
# stopped in order, frozen, has its disk emptied; then all three are killed at once. Every record
# that was acknowledged is read exactly once, in order. Prints how long nothing could be read.
#
#   infra/ci/failover.sh [path of weir]
set -euo pipefail
cd "$(dirname "$0")/../.."
weir="$(realpath "${1:-target/debug/weir}")"
for tool in pgrep python3; do
  command -v "$tool" >/dev/null && continue
  apt-get update && apt-get install -y --no-install-recommends procps python3
done

work=$(mktemp -d)
export WEIR_HOME="$work/home"
cleanup() {
  # What is frozen cannot be stopped.
  pkill -CONT -f "run spu .*$WEIR_HOME" 2>/dev/null || true
  jobs -p | xargs -r kill 2>/dev/null || true
  "$weir" cluster delete --name failover --yes >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

"$weir" cluster create --name failover --spus 3 >/dev/null
"$weir" topic create orders --replication 3 >/dev/null

. infra/ci/traffic.sh
pid_of() { pgrep -f "run spu .*--spu-id $1 .*$WEIR_HOME" | head -n 1; }
killed() { kill -9 "$(pid_of "$(leader)")"; }
stopped() { kill -TERM "$(pid_of "$(leader)")"; }
frozen() {
  local pid
  pid=$(pid_of "$(leader)")
  kill -STOP "$pid"
  python3 -c 'import time; time.sleep(8)'
  # It may have been replaced by then.
  kill -CONT "$pid" 2>/dev/null || true
}
emptied() {
  local spu control_plane
  spu=$(leader)
  # Or the SPU would be started again before its folder is gone.
  control_plane=$(pgrep -f "run control-plane .*$WEIR_HOME" | head -n 1)
  kill -STOP "$control_plane"
  kill -9 "$(pid_of "$spu")"
  rm -rf "$WEIR_HOME"/clusters/*/spu-"$spu"
  kill -CONT "$control_plane"
}
all_killed() { pkill -9 -f "run spu .*$WEIR_HOME"; }

begin_traffic
round "kill -9 of the leader" killed
round "the leader is stopped in order" stopped
round "the leader is frozen for 8 s" frozen
round "kill -9 of the leader, its disk empty" emptied
round "kill -9 of all three" all_killed
end_traffic

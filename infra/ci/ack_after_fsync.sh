#!/usr/bin/env bash
# `kill -9` cannot see a missing fsync: the page cache survives it. So the system calls of a
# real SPU are traced while a file is produced, and every acknowledgement must have left the
# process after an fdatasync that began after its batch was written. Then the same with fsync
# switched off, which the check must find.
#
#   infra/ci/ack_after_fsync.sh [path of weir]      needs strace (installed when missing) and root
set -euo pipefail
cd "$(dirname "$0")/../.."
weir="$(realpath "${1:-target/debug/weir}")"
for tool in strace pgrep; do
  command -v "$tool" >/dev/null && continue
  apt-get update && apt-get install -y --no-install-recommends strace procps
done

work=$(mktemp -d)
export WEIR_HOME="$work/home"
cleanup() {
  "$weir" cluster delete --name traced --yes >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

traced() { # name of the trace
  "$weir" cluster create --name traced --spus 1 >/dev/null
  "$weir" topic create traced --partitions 1 >/dev/null
  local pid
  pid=$(pgrep -f "run spu .*$WEIR_HOME" | head -n 1)
  : > "$work/attached"
  port=$(tr '\0' ' ' < "/proc/$pid/cmdline" | sed -n 's/.*--listen [^ ]*:\([0-9]*\).*/\1/p')
  strace -f -v -yy -xx -s 4096 -e trace=pwritev,pwrite64,pwritev2,fdatasync,write,writev,sendto,sendmsg \
    -p "$pid" -o "$work/$1" 2> "$work/attached" &
  local tracer=$!
  until grep -q attached "$work/attached"; do
    kill -0 "$tracer" 2>/dev/null || { cat "$work/attached"; exit 1; }
  done
  # In small batches, so that there is much to acknowledge.
  head -n 20000 "$work/input" | "$weir" produce traced --batch-size 2048 >/dev/null
  "$weir" cluster delete --name traced --yes >/dev/null
  wait "$tracer" || true
}

find protocol dataplane -name '*.rs' -print0 | sort -z | xargs -0 cat > "$work/input"
traced with
python3 infra/ci/ack_after_fsync.py "$work/with" "$port"

export WEIR_SPU_UNSAFE_NO_FSYNC=true
traced without
if python3 infra/ci/ack_after_fsync.py "$work/without" "$port"; then
  echo "the check did not notice that fsync was off"
  exit 1
fi
echo "and the check finds an SPU whose fsync is off"

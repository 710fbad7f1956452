#!/usr/bin/env bash
# The life of a cluster as a person lives it: three SPUs, a topic over all of them, data in, shut
# down, created again (refused, with advice), resumed, scaled to one, deleted, created again. Every
# record is counted after each step, and once the cluster is shut down while a topic with three
# copies is written; at the end no process, no port and no file is left. Prints what each step took.
#
#   infra/ci/lifecycle.sh [path of weir] [MB of records]
set -euo pipefail
cd "$(dirname "$0")/../.."
weir="$(realpath "${1:-target/debug/weir}")"
megabytes="${2:-32}"
for tool in pgrep ss python3; do
  command -v "$tool" >/dev/null && continue
  apt-get update && apt-get install -y --no-install-recommends procps iproute2 python3
done

work=$(mktemp -d)
export WEIR_HOME="$work/home"
cleanup() {
  "$weir" cluster delete --name life --yes >/dev/null 2>&1 || true
  pkill -9 -f "$WEIR_HOME" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

fail() { echo "FAILED: $*"; exit 1; }
timed() { # words, command…
  local words="$1" begin end
  shift
  begin=$(date +%s%N)
  "$@" >"$work/out" 2>"$work/err" || { cat "$work/out" "$work/err"; fail "$words"; }
  end=$(date +%s%N)
  printf '%-44s %6.2f s   %s\n' "$words" "$(((end - begin) / 10000000))e-2" "$(tail -n 1 "$work/out")"
}
counted() { # when
  local found
  found=$("$weir" consume orders --beginning --disable-continuous 2>/dev/null | wc -l)
  [ "$found" = "$records" ] || fail "$found of $records records $1"
  printf '%-44s %s\n' "  records read $1" "$found"
}

# Writes to a topic with three copies, shuts down in the middle, resumes, and reads to the end at
# once: whoever leads now knows what was acknowledged before it says where the end is. The SPUs end
# in order: of no record is it unknown whether it was written.
cut_off() { # topic
  local begun acknowledged found
  "$weir" topic create "$1" --partitions 3 --replication 3 >/dev/null
  seq 1 100000000 | "$weir" --timeout 3s produce "$1" >"$work/out" 2>"$work/err" &
  begun=$!
  until [ "$("$weir" consume "$1" --beginning --count 1 2>/dev/null | wc -l)" = 1 ]; do
    kill -0 "$begun" || fail "$(cat "$work/out" "$work/err")"
  done
  "$weir" cluster shutdown >/dev/null
  if wait "$begun"; then fail "100,000,000 records were written before the shutdown"; fi
  acknowledged=$(cat "$work/out" "$work/err" | grep -o '[0-9,]* records\? acknowledged' | head -n 1 | tr -dc 0-9)
  [ "${acknowledged:-0}" -gt 0 ] || fail "nothing acknowledged: $(cat "$work/err")"
  "$weir" cluster resume >/dev/null
  found=$("$weir" consume "$1" --beginning --disable-continuous 2>/dev/null | wc -l)
  grep -q ' 0 unknown' "$work/out" "$work/err" || fail "$(cat "$work/out" "$work/err")"
  [ "$found" = "$acknowledged" ] || fail "$found of $acknowledged records at once after resume"
  printf '%-44s %s\n' "  written until the shutdown, and read" "$found"
  "$weir" topic delete "$1" --purge --yes >/dev/null
}

# Lines of 1,000 bytes, none like another.
records=$((megabytes * 1000))
python3 - "$records" >"$work/records" <<'PYTHON'
import random, sys
source = random.Random(1)
for number in range(int(sys.argv[1])):
    print(f"{number:012d} " + f"{source.getrandbits(3944):0986x}")
PYTHON

# A first start makes the home, its key and its database.
timed "create, 3 SPUs, a fresh home" "$weir" cluster create --name life --spus 3
timed "topic over 3 SPUs, 100 partitions" "$weir" topic create orders --partitions 100
timed "produce $megabytes MB" "$weir" produce orders --file "$work/records"
counted "after produce"
timed "shutdown" "$weir" cluster shutdown
pgrep -f "run spu .*$WEIR_HOME" >/dev/null && fail "an SPU runs after the shutdown"
if "$weir" cluster create --name life --spus 1 >"$work/out" 2>&1; then fail "created twice"; fi
grep -q 'exists already (state shutdown)' "$work/out" || fail "$(cat "$work/out")"
grep -q 'weir cluster resume' "$work/out" || fail "no advice: $(cat "$work/out")"
sed 's/^/  /' "$work/out"
timed "resume" "$weir" cluster resume
counted "after resume"
for n in 1 2 3; do cut_off "copies-$n"; done
timed "scale to 1" "$weir" cluster scale --spus 1
counted "after the scale"
ports=$("$weir" cluster spu list -o json | grep -o '127.0.0.1:[0-9]*' | cut -d: -f2)
timed "delete" "$weir" cluster delete --yes
pgrep -f "run .*$WEIR_HOME" >/dev/null && fail "a process is left: $(pgrep -af "run .*$WEIR_HOME")"
for port in $ports; do
  [ -z "$(ss -Htln "sport = :$port")" ] || fail "port $port is in use"
done
[ -z "$(ls "$WEIR_HOME/clusters")" ] || fail "left: $(ls -R "$WEIR_HOME/clusters")"
timed "create again, 3 SPUs" "$weir" cluster create --name life --spus 3
timed "delete" "$weir" cluster delete --yes
echo "nothing is left"

#!/usr/bin/env bash
# `kill -9` of the SPU, again and again, while a producer writes: whatever was acknowledged is
# there at the end, each record once, in order; and every log is sound.
#
#   infra/ci/kill_loop.sh [path of weir] [how many kills, 200 by default]
set -euo pipefail
cd "$(dirname "$0")/../.."
weir="$(realpath "${1:-target/debug/weir}")"
kills="${2:-200}"
for tool in pgrep python3; do
  command -v "$tool" >/dev/null && continue
  apt-get update && apt-get install -y --no-install-recommends procps python3
done

work=$(mktemp -d)
export WEIR_HOME="$work/home"
producer=
cleanup() {
  if [ -n "$producer" ]; then kill "$producer" 2>/dev/null || true; fi
  "$weir" cluster delete --name killed --yes >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

"$weir" cluster create --name killed --spus 1 >/dev/null
# Small segments, so that many a kill falls into a roll; and one topic without fsync before the
# acknowledgement, which `kill -9` must not tell from the other.
"$weir" topic create safe --partitions 3 --segment-bytes 1MiB >/dev/null
"$weir" topic create fast --partitions 1 --segment-bytes 1MiB --flush interval --flush-interval 100ms >/dev/null

numbers() { # until told to stop
  python3 - "$work/stop" <<'PY'
import os, sys, time
n = 0
while not os.path.exists(sys.argv[1]):
    for _ in range(200):
        print(f"{n} " + "x" * 100)
        n += 1
    sys.stdout.flush()
    time.sleep(0.02)
PY
}

tee_and_produce() { # topic
  numbers | tee "$work/$1.sent" | "$weir" produce "$1" --quiet > /dev/null
}
( tee_and_produce safe & first=$!; tee_and_produce fast; wait "$first" ) &
producer=$!

for kill in $(seq "$kills"); do
  python3 -c 'import random, time; time.sleep(random.uniform(0.0, 0.4))'
  pid=$(pgrep -f "run spu .*$WEIR_HOME" | head -n 1 || true)
  if [ -n "$pid" ]; then kill -9 "$pid" 2>/dev/null || true; fi
  "$weir" cluster resume --name killed --quiet >/dev/null
  kill -0 "$producer" || { echo "the producer gave up after kill $kill"; exit 1; }
done
touch "$work/stop"
wait "$producer"
producer=

for topic in safe fast; do
  "$weir" consume "$topic" -B -d --quiet --format '{{partition}} {{value}}' > "$work/$topic.read"
  python3 - "$topic" "$work/$topic.sent" "$work/$topic.read" <<'PY'
import sys
topic, sent, read = sys.argv[1:]
sent = [line.split()[0] for line in open(sent)]
last, seen = {}, []
for line in open(read):
    partition, number, _ = line.split()
    assert int(number) > last.get(partition, -1), f"{topic}: {number} is out of order"
    last[partition] = int(number)
    seen.append(number)
assert len(set(seen)) == len(seen), f"{topic}: something is there twice"
missing = set(sent) - set(seen)
assert not missing, f"{topic}: {len(missing)} acknowledged records are missing"
assert len(seen) == len(sent), f"{topic}: {len(seen)} read, {len(sent)} sent"
print(f"{topic}: {len(sent)} acknowledged, all there, each once, in order")
PY
done

"$weir" cluster shutdown --name killed --quiet >/dev/null
"$weir" debug log verify "$work/home" -o json > "$work/verified.json"
python3 - "$work/verified.json" "$kills" <<'PY'
import json, sys
logs = json.load(open(sys.argv[1]))
assert all(log["sound"] for log in logs)
print(f"{len(logs)} logs in {sum(log['segments'] for log in logs)} segments, sound after {sys.argv[2]} kills")
PY

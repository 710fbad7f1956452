#!/usr/bin/env bash
# Everything is moved off one SPU of three, of a topic with two copies and of one with a single copy,
# while both are written and read. What --dry-run says is what is done, every record that was
# acknowledged is read exactly once, and nothing is left on the SPU's disk.
#
#   infra/ci/drain.sh [path of weir]
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
  jobs -p | xargs -r kill 2>/dev/null || true
  "$weir" cluster delete --name drain --yes >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

"$weir" cluster create --name drain --spus 3 >/dev/null
"$weir" topic create orders --replication 2 >/dev/null
"$weir" topic create single --partitions 6 >/dev/null

. infra/ci/traffic.sh
copies=2
begin_traffic
python3 - "$work/stop" <<'PY' | tee "$work/sent-single" | "$weir" produce single --quiet &
import os, sys, time
n, began = 0, time.monotonic()
while not os.path.exists(sys.argv[1]):
    print(n, flush=True)
    n += 1
    time.sleep(max(0, began + n / 300 - time.monotonic()))
PY
single=$!
in_sync
python3 -c 'import time; time.sleep(3)'

spu=$(leader)
"$weir" partition reassign --from "$spu" --dry-run -o json > "$work/planned"
"$weir" partition reassign --from "$spu" -o json > "$work/done"
python3 - "$work/planned" "$work/done" <<'PY'
import json, sys
planned, done = (json.load(open(path))["moves"] for path in sys.argv[1:])
assert planned and planned == done, (planned, done)
print(f"{len(done)} partitions moved, as was planned")
PY
"$weir" partition list -o json | python3 -c '
import json, sys
spu = int(sys.argv[1])
held = [p for p in json.load(sys.stdin) if spu in p["replica_spu_ids"] and p["topic"] in ("orders", "single")]
sys.exit(f"SPU {spu} still holds {held}" if held else 0)' "$spu"
# The orders to remove what is left are carried out a moment later.
for _ in $(seq 60); do
  left=$(find "$WEIR_HOME"/clusters/*/spu-"$spu"/topics -name '*.log' -size +0 | wc -l)
  [ "$left" -le 1 ] && break
  python3 -c 'import time; time.sleep(0.5)'
done
echo "SPU $spu holds nothing but its probe: $left log with bytes"
[ "$left" -le 1 ]
python3 -c 'import time; time.sleep(2)'
end_traffic
wait "$single"
"$weir" consume single -B -d --quiet | sort -n | cmp - "$work/sent-single"
echo "$(wc -l < "$work/sent-single") records of the topic with one copy are there, each once"

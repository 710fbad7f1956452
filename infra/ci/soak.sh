#!/usr/bin/env bash
# An SPU under use that never ends: segments come and go, topics are made, recreated and purged,
# consumers start and stop. Its descriptors and its memory must not grow with it.
#
#   infra/ci/soak.sh [path of weir] [how many rounds, 300 by default]
set -euo pipefail
cd "$(dirname "$0")/../.."
weir="$(realpath "${1:-target/debug/weir}")"
rounds="${2:-300}"
for tool in pgrep python3; do
  command -v "$tool" >/dev/null && continue
  apt-get update && apt-get install -y --no-install-recommends procps python3
done

work=$(mktemp -d)
export WEIR_HOME="$work/home"
cleanup() {
  "$weir" cluster delete --name soaked --yes >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

"$weir" cluster create --name soaked --spus 1 >/dev/null
# About four segments are kept of each partition: every round removes as many as it adds.
kept=(--segment-bytes 1MiB --retention-bytes 3MiB)
"$weir" topic create safe --partitions 2 "${kept[@]}" >/dev/null
"$weir" topic create fast --partitions 2 "${kept[@]}" --flush interval --flush-interval 50ms >/dev/null
pid=$(pgrep -f "run spu .*$WEIR_HOME")
python3 -c '
for n in range(40_000):
    print(f"{n} " + "x" * 100)' > "$work/lines"

# Whom retention overtakes is told so and ends: readers are load here, nothing is judged by them.
read_some() {
  "$weir" consume "$@" -d --quiet >/dev/null 2>"$work/reader.log" ||
    grep -q 'is outside' "$work/reader.log" || { cat "$work/reader.log"; exit 1; }
}

for round in $(seq "$rounds"); do
  for topic in safe fast; do
    "$weir" produce "$topic" --quiet < "$work/lines" >/dev/null
    read_some "$topic" -B
    read_some "$topic" --consumer "reader-$((round % 5))"
  done
  "$weir" topic create passing --partitions 2 >/dev/null
  "$weir" produce passing --quiet < "$work/lines" >/dev/null
  "$weir" topic delete passing --purge --yes >/dev/null
  echo "$(find "/proc/$pid/fd" -mindepth 1 | wc -l) $(awk '/^VmRSS/ {print $2}' "/proc/$pid/status")" >> "$work/samples"
done

python3 - "$work/samples" <<'PY'
import sys
samples = [tuple(map(int, line.split())) for line in open(sys.argv[1])]
# What was opened, learned and allocated for the first time is no growth; and the least of many
# rounds is what is really held, where single ones differ by what was just under way.
third = max(len(samples) // 3, 1)
early, late = samples[third : 2 * third] or samples, samples[-third:]
for at, (what, unit, most) in enumerate([("descriptors", "", 3), ("memory", " KiB", 8 * 1024)]):
    before, after = (min(s[at] for s in part) for part in (early, late))
    print(f"{what}: at least {before}{unit} in the second third of {len(samples)} rounds, {after}{unit} in the last")
    assert after <= before + most, f"{what} grow: {[s[at] for s in samples]}"
PY

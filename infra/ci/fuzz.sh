#!/usr/bin/env bash
# The batch decoder and the recovery of a log, fed with anything, for a while each.
#
#   infra/ci/fuzz.sh [seconds of each target, 30 by default]
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds="${1:-30}"
if ! command -v cargo-fuzz >/dev/null; then
  cargo install cargo-fuzz --version 0.13.1 --locked
fi
if ! command -v c++ >/dev/null; then
  apt-get update && apt-get install -y --no-install-recommends g++
fi
# libFuzzer's coverage needs flags that a stable compiler takes only when asked like this.
export RUSTC_BOOTSTRAP=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for target in batch recovery; do
  if ! cargo fuzz run "$target" --sanitizer none -- -max_total_time="$seconds" -timeout=20 \
    -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 > "$log" 2>&1; then
    tail -n 40 "$log"
    exit 1
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  # A target that cannot be run finds nothing either.
  test "$runs" -gt 1000
  echo "$target: $runs inputs, no complaint"
done

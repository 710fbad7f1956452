#!/usr/bin/env bash
# A real cluster writes a real file with every codec; a Kafka client library for Python
# reads the segments that lie on the disk, checks every batch, and compares the values.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
  apt-get update && apt-get install -y --no-install-recommends python3 python3-venv
fi

work=$(mktemp -d)
export WEIR_HOME="$work/home"
weir="$(realpath "${1:-target/debug/weir}")"
cleanup() {
  "$weir" cluster delete --name foreign --yes >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -r infra/ci/requirements.txt
python="$work/venv/bin/python"

"$python" protocol/tests/golden/foreign.py --check

# Real text with repetition, so that every codec has something to compress.
find protocol runtime dataplane control-plane client cli -name '*.rs' -print0 | sort -z |
  xargs -0 cat > "$work/input"
lines=$(wc -l < "$work/input")

"$weir" cluster create --name foreign --spus 1
for codec in none gzip snappy lz4 zstd; do
  topic="codec-$codec"
  "$weir" topic create "$topic" --partitions 1
  "$weir" produce "$topic" -f "$work/input" --compression "$codec"
  generation=$("$weir" topic describe "$topic" -o json | "$python" -c \
    'import json, sys; t = json.load(sys.stdin); t = t[0] if isinstance(t, list) else t; print(t["generation_id"].removeprefix("tg_"))')
  folder=$(find "$WEIR_HOME" -type d -path "*$generation*" -name 0)
  [ -n "$folder" ] || { echo "no folder of generation $generation below $WEIR_HOME"; exit 1; }
  echo "== $codec: $lines lines in $folder"
  "$python" infra/ci/read_segments.py "$folder" --values "$work/input"
done

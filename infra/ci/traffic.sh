# Sourced: a producer and a consumer of the topic `orders` that go on while something is done to
# its copies, `$copies` or three. Wants `$weir` and an empty folder `$work`.

leader() {
  "$weir" topic describe orders -o json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["partitions"][0]["leader_spu_id"])'
}
in_sync() { # waits, for a minute
  for _ in $(seq 120); do
    if "$weir" topic describe orders -o json | python3 -c '
import json, sys
partition = json.load(sys.stdin)["partitions"][0]
sys.exit(len(partition["isr_spu_ids"]) != int(sys.argv[1]))' "${copies:-3}"; then return; fi
    python3 -c 'import time; time.sleep(0.5)'
  done
  echo "not all in sync again:"; "$weir" topic describe orders; return 1
}

begin_traffic() { # 300 numbers a second, until told to stop
  python3 - "$work/stop" <<'PY' | tee "$work/sent" | "$weir" produce orders --quiet &
import os, sys, time
n, began = 0, time.monotonic()
while not os.path.exists(sys.argv[1]):
    print(n, flush=True)
    n += 1
    time.sleep(max(0, began + n / 300 - time.monotonic()))
PY
  producer=$!
  "$weir" consume orders --beginning --quiet > >(python3 -u -c '
import sys, time
for line in sys.stdin:
    print(f"{time.monotonic():.4f} {line.strip()}", flush=True)' > "$work/seen") &
  consumer=$!
}

round() { # name, what to do
  in_sync
  python3 -c 'import time; time.sleep(2)'
  from=$(python3 -c 'import time; print(time.monotonic())')
  "$2"
  # Until it has been noticed, all would seem to be in sync: twice the lease.
  python3 -c 'import time; time.sleep(6)'
  in_sync
  python3 -c 'import time; time.sleep(1)'
  python3 - "$work/seen" "$from" "$1" <<'PY'
import sys
times = [float(line.split()[0]) for line in open(sys.argv[1]) if line.endswith("\n")]
after = [t for t in times if t >= float(sys.argv[2]) - 1]
gap = max(b - a for a, b in zip(after, after[1:]))
print(f"{sys.argv[3]:<38} longest time without a record: {gap:.3f} s")
PY
}

end_traffic() {
  touch "$work/stop"
  wait "$producer" # whatever it took it has an acknowledgement for, or it fails
  last=$(tail -n 1 "$work/sent")
  for _ in $(seq 60); do
    tail -n 1 "$work/seen" | grep -q " $last\$" && break
    python3 -c 'import time; time.sleep(0.5)'
  done
  kill "$consumer" 2>/dev/null || true
  cut -d' ' -f2 "$work/seen" > "$work/read"
  cmp "$work/sent" "$work/read"
  echo "$(wc -l < "$work/sent") records acknowledged, each read once and in order"
}

#!/usr/bin/env bash
# Three SPUs, each on a "machine" of its own: a network namespace behind a bridge, on which the
# control plane and the clients are. The machine of the leader, and of a follower, is cut off and
# comes back. Every record that was acknowledged is read exactly once, in order. Prints how long
# nothing could be read. Needs root, and Linux.
#
#   infra/ci/netns.sh [path of weir]
set -euo pipefail
cd "$(dirname "$0")/../.."
weir="$(realpath "${1:-target/debug/weir}")"
for tool in ip pgrep python3; do
  command -v "$tool" >/dev/null && continue
  apt-get update && apt-get install -y --no-install-recommends iproute2 procps python3
done

work=$(mktemp -d)
export WEIR_HOME="$work/home"
net=10.77.0
cleanup() {
  jobs -p | xargs -r kill 2>/dev/null || true
  pkill -9 -f "run spu .*$work" 2>/dev/null || true
  for n in 1 2 3; do ip netns del "weir-spu$n" 2>/dev/null || true; done
  ip link del weir-bridge 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

ip link add weir-bridge type bridge
ip addr add "$net.1/24" dev weir-bridge
ip link set weir-bridge up
for n in 1 2 3; do
  ip netns add "weir-spu$n"
  ip link add "weir-host$n" type veth peer name eth0 netns "weir-spu$n"
  ip link set "weir-host$n" master weir-bridge up
  ip -n "weir-spu$n" link set lo up
  ip -n "weir-spu$n" addr add "$net.1$n/24" dev eth0
  ip -n "weir-spu$n" link set eth0 up
done

# Started by the control plane in place of an SPU: the same, on the SPU's own machine.
cat > "$work/spu" <<'SH'
#!/usr/bin/env bash
set -euo pipefail
arguments=("$@")
for i in "${!arguments[@]}"; do
  if [ "${arguments[$i]}" = --spu-id ]; then spu="${arguments[$((i + 1))]}"; fi
  if [ "${arguments[$i]}" = --listen ]; then listen=$((i + 1)); fi
done
arguments[listen]="10.77.0.1$spu:${arguments[$listen]##*:}"
exec ip netns exec "weir-spu$spu" "@weir@" run spu "${arguments[@]}"
SH
sed -i "s|@weir@|$weir|" "$work/spu" # it is given no environment of ours
chmod +x "$work/spu"

"$weir" run control-plane --data-dir "$work/control-plane" --clusters-dir "$work/clusters" \
  --http-listen "$net.1:9400" --rpc-listen "$net.1:9401" --spu-program "$work/spu" \
  2> "$work/log" &
for _ in $(seq 100); do
  [ -s "$work/control-plane/admin-key" ] && break
  python3 -c 'import time; time.sleep(0.1)'
done
"$weir" cloud connect --url "http://$net.1:9400" --create --spus 3 machines --key-stdin \
  < "$work/control-plane/admin-key"
"$weir" topic create orders --replication 3 >/dev/null

. infra/ci/traffic.sh
away() { # which SPU, for how many seconds
  ip link set "weir-host$1" down
  python3 -c "import time; time.sleep($2)"
  ip link set "weir-host$1" up
}
leader_cut_off() { away "$(leader)" 12; }
leader_blinks() { away "$(leader)" 1; }
follower_cut_off() { away "$(($(leader) % 3 + 1))" 12; }

begin_traffic
round "the leader's machine is cut off, 12 s" leader_cut_off
round "the leader's machine is cut off, 1 s" leader_blinks
round "a follower's machine is cut off, 12 s" follower_cut_off
end_traffic

#!/usr/bin/env bash
# What can be checked of infra/ on a machine without a container engine: the container file
# and compose.yaml fit the repository, Prometheus' configuration and the systemd unit are what
# their own tools take, and a real cluster serves every metric that the dashboard shows.
#
#   infra/ci/infra.sh [path of weir]        installs what is missing: needs root then
set -euo pipefail
cd "$(dirname "$0")/../.."
weir="$(realpath "${1:-target/debug/weir}")"

declare -A package=([promtool]=prometheus [docker-compose]=docker-compose
  [systemd-analyze]=systemd [pgrep]=procps [curl]=curl [python3]=python3)
missing=()
for tool in "${!package[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
python3 -c 'import yaml' 2>/dev/null || missing+=(python3-yaml)
if [ "${#missing[@]}" -gt 0 ]; then
  apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"
fi

work=$(mktemp -d)
export WEIR_HOME="$work/home"
cleanup() {
  "$weir" cluster delete --name infra --yes >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

echo "== files"
python3 infra/ci/infra.py files
docker-compose -f infra/compose/compose.yaml config --quiet
promtool check config --syntax-only infra/compose/prometheus.yml
python3 infra/ci/infra.py rules > "$work/rules.yaml"
promtool check rules "$work/rules.yaml"

echo "== systemd"
# The unit as it is, but for the place and the user of this machine's binary.
sed -e "s|/usr/local/bin/weir|$weir|" -e "s|^User=.*|User=$(id -un)|" \
  -e "s|^Group=.*|Group=$(id -gn)|" infra/systemd/weir-control-plane.service \
  > "$work/weir-control-plane.service"
# A word that it does not know is told, and is no failure to it.
told=$(systemd-analyze verify --man=no "$work/weir-control-plane.service" 2>&1) || true
[ -z "$told" ] || { echo "$told"; exit 1; }
systemd-analyze security --offline=true --threshold=25 "$work/weir-control-plane.service" \
  --no-pager | tail -n 1

echo "== a real cluster"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
WEIR_METRICS_LISTEN="127.0.0.1:$port" "$weir" cluster create --name infra --spus 2 >/dev/null
"$weir" topic create orders >/dev/null
seq 1000 | "$weir" produce orders >/dev/null
"$weir" consume orders -B -d >/dev/null
"$weir" consume orders -c dashboard -B -n 400 >/dev/null
# An error too, so that it shows: there is no such offset.
"$weir" consume orders --start-offset 5000 -n 1 --timeout 5s >/dev/null 2>&1 || true
# Commits reach SQL, and SQL the metrics, in seconds: 30 are more than enough.
for _ in $(seq 120); do
  curl --fail --silent --show-error "http://127.0.0.1:$port/metrics" > "$work/control-plane"
  grep -q '^weir_control_plane_consumer_lag_records{' "$work/control-plane" && break
  sleep 0.25
done
# Two SPUs, for what only leaders and what only followers have.
for pid in $(pgrep -f "run spu .*$WEIR_HOME"); do
  spu=$(tr '\0' ' ' < "/proc/$pid/cmdline" | sed -n 's/.*--metrics-listen \([^ ]*\).*/\1/p')
  curl --fail --silent --show-error "http://$spu/metrics" > "$work/spu-$pid"
done
for scrape in "$work"/control-plane "$work"/spu-*; do
  python3 infra/ci/infra.py text "$scrape" | promtool check metrics
done
python3 infra/ci/infra.py scrapes "$work"/control-plane "$work"/spu-*

#!/usr/bin/env bash
# The HTTP API against its own document, judged by tools that we did not write: the document
# is valid OpenAPI 3.1; and whatever is sent to any operation, the answer is no 5xx, has a
# status, a content type and a body that the document promises.
#
#   infra/ci/api.sh [path of weir]
set -euo pipefail
cd "$(dirname "$0")/../.."
weir="$(realpath "${1:-target/debug/weir}")"

if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
  apt-get update && apt-get install -y --no-install-recommends python3 python3-venv
fi

work=$(mktemp -d)
server=
finish() {
  code=$?
  [ "$code" = 0 ] || tail -n 30 "$work/server.log" 2>/dev/null || true
  if [ -n "$server" ]; then
    api DELETE /v1/clusters/demo >/dev/null 2>&1 || true
    wait_for demo 404 2>/dev/null || true
    kill "$server" 2>/dev/null && wait "$server" || true
  fi
  rm -rf "$work"
}
trap finish EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -r infra/ci/requirements-api.txt

# One SPU really runs; whoever is started after it ends at once.
cat > "$work/spu" <<SPU
#!/bin/sh
[ ! -e "$work/enough" ] || exit 1
exec "$weir" run spu "\$@"
SPU
chmod +x "$work/spu"
free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
url="http://127.0.0.1:$(free_port)"
"$weir" run control-plane --data-dir "$work/control-plane" --clusters-dir "$work/clusters" \
  --http-listen "${url#http://}" --rpc-listen "127.0.0.1:$(free_port)" \
  --spu-program "$work/spu" > "$work/server.log" 2>&1 &
server=$!

api() { # method, path, body
  python3 - "$url$2" "$1" "$work/control-plane/admin-key" "${3:-}" <<'PY'
import sys, urllib.error, urllib.request
url, method, key, body = sys.argv[1:]
headers = {"Authorization": "Bearer " + open(key).read().strip(), "Content-Type": "application/json"}
request = urllib.request.Request(url, body.encode() or None, headers, method=method)
try:
    answer = urllib.request.urlopen(request, timeout=10)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
PY
}
wait_for() { # cluster, pattern of the answer
  for _ in $(seq 300); do
    kill -0 "$server" 2>/dev/null || { echo "the control plane ended"; exit 1; }
    if api GET "/v1/clusters/$1" 2>/dev/null | grep -q "$2"; then return; fi
    sleep 0.1
  done
  echo "never: cluster $1 $2"; api GET "/v1/clusters/$1"; exit 1
}
until api GET /ready 2>/dev/null | grep -q '^200'; do
  kill -0 "$server" 2>/dev/null || { echo "the control plane ended"; exit 1; }
  sleep 0.1
done
api PUT /v1/clusters/demo '{"spus": 1}' | grep -q '^201'
wait_for demo '"state":"running"'
touch "$work/enough"
for topic in orders spare; do
  api POST /v1/clusters/demo/topics "{\"name\": \"$topic\", \"partitions\": 2}" | grep -q '^201'
done
for cluster in fuzz gone; do
  api PUT "/v1/clusters/$cluster" '{"spus": 1}' | grep -q '^201'
done
api POST /v1/clusters/gone:shutdown | grep -q '^202'

echo "== the document is valid OpenAPI 3.1"
api GET /v1/openapi.json | sed '1s/^200 //' > "$work/openapi.json"
"$work/venv/bin/python" -m openapi_spec_validator --schema 3.1 "$work/openapi.json"

echo "== every operation keeps to the document"
config="$PWD/infra/ci/api.toml"
cd "$work" # it writes what it found where it stands
"$work/venv/bin/schemathesis" --config-file "$config" run "$work/openapi.json" --url "$url" \
  --header "Authorization: Bearer $(cat "$work/control-plane/admin-key")" \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
  --phases examples,coverage,fuzzing --max-examples 25 --seed 1 --generation-database none \
  --request-timeout 20 --continue-on-failure --warnings off --no-color

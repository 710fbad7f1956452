#!/usr/bin/env bash
# The control plane on a real Postgres server: its tests, then a whole system once. Installs
# Postgres when it is missing, and starts a server of its own that nobody else sees.
#
#   infra/ci/postgres.sh              everything
#   infra/ci/postgres.sh run COMMAND  COMMAND with WEIR_TEST_POSTGRES_URL set
set -euo pipefail
cd "$(dirname "$0")/../.."

programs() { # where initdb and postgres are
  local found
  if found=$(command -v initdb) && command -v postgres >/dev/null; then
    dirname "$found"
  else
    dirname "$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)"
  fi
}
if [ "$(programs)" = . ]; then
  apt-get update && apt-get install -y --no-install-recommends postgresql
fi
bin=$(programs)
[ -x "$bin/postgres" ] || { echo "no Postgres server, and none could be installed"; exit 1; }

work=$(mktemp -d)
# Postgres refuses to run as root.
as_owner=()
if [ "$(id -u)" = 0 ]; then
  chown nobody "$work"
  as_owner=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups env HOME="$work")
fi
server=
finish() {
  [ -z "$server" ] || { kill -INT "$server" && wait "$server"; } || true
  rm -rf "$work"
}
trap finish EXIT

# initdb asks whether the folder is empty, so it gets one of its own.
"${as_owner[@]}" "$bin/initdb" --pgdata "$work/data" --username weir --auth trust \
  --encoding UTF8 --no-sync > "$work/initdb.log" || { cat "$work/initdb.log"; exit 1; }
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as_owner[@]}" "$bin/postgres" -D "$work/data" -p "$port" -c listen_addresses=127.0.0.1 \
  -c unix_socket_directories="$work" -c fsync=off -c max_connections=200 \
  > "$work/server.log" 2>&1 &
server=$!
until grep -q 'ready to accept connections' "$work/server.log"; do
  kill -0 "$server" 2>/dev/null || { cat "$work/server.log"; exit 1; }
  sleep 0.1
done
export WEIR_TEST_POSTGRES_URL="postgres://weir@127.0.0.1:$port/postgres"
if [ "${1:-}" = run ]; then
  "${@:2}"
  exit
fi

echo "== the control plane's tests on Postgres"
# What is ignored without a server is what must run here.
cargo test -p weir-control-plane --test store --test http --test session --test reconcile \
  -- --include-ignored --test-threads 4

#!/usr/bin/env bash
# The control plane on a real Postgres server: its tests, then a whole system once. Installs
# Postgres when it is missing, and starts a server of its own that nobody else sees.
#
#   infra/ci/postgres.sh              everything
#   infra/ci/postgres.sh whole        only the whole system
#   infra/ci/postgres.sh run COMMAND  COMMAND with WEIR_TEST_POSTGRES_URL set
set -euo pipefail
cd "$(dirname "$0")/../.."

programs() { # where initdb and postgres are
  local found
  if found=$(command -v initdb) && command -v postgres >/dev/null; then
    dirname "$(realpath "$found")"
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
weir="$(realpath -m target/debug/weir)"
export WEIR_HOME="$work/home"
finish() {
  "$weir" cluster delete --name whole --yes >/dev/null 2>&1 || true
  [ -z "$server" ] || { kill -INT "$server" && wait "$server"; } || true
  rm -rf "$work"
}
trap finish EXIT

# initdb asks whether the folder is empty, so it gets one of its own.
"${as_owner[@]}" "$bin/initdb" --pgdata "$work/data" --username weir --auth trust \
  --encoding UTF8 --no-sync > "$work/initdb.log" || { cat "$work/initdb.log"; exit 1; }
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
touch "$work/server.log"
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

if [ "${1:-}" != whole ]; then
  echo "== the control plane's tests on Postgres"
  cargo test -p weir-control-plane --features postgres-tests --test store --test http \
    --test session --test reconcile --test scale --test replication --test consumers \
    --test store_offsets -- --test-threads 4
fi

echo "== a whole system on Postgres"
cargo build -p weir-cli --bin weir
whole() {
  "$bin/createdb" -h 127.0.0.1 -p "$port" -U weir -T template0 -E UTF8 whole
  sql() { "$bin/psql" -X -q -A -t -h 127.0.0.1 -p "$port" -U weir -d whole -c "$1"; }
  must() { # what, command
    "${@:2}" || { echo "FAILED: $1"; tail -n 20 "$WEIR_HOME/control-plane/log" || true; exit 1; }
  }
  export WEIR_DATABASE_URL="postgres://weir:not-to-be-seen@127.0.0.1:$port/whole"
  find protocol dataplane control-plane -name '*.rs' -print0 | sort -z | xargs -0 cat > "$work/input"

  must create "$weir" cluster create --name whole --spus 1
  must "create a topic" "$weir" topic create whole --partitions 1
  must produce "$weir" produce whole -f "$work/input"
  "$weir" consume whole -B -d > "$work/output"
  must "what was consumed is what was produced" cmp "$work/input" "$work/output"
  must "there is no SQLite" test ! -e "$WEIR_HOME/control-plane/weir.db"
  must "the topic is in Postgres" test "$(sql "SELECT name FROM topic_names WHERE name = 'whole'")" = whole

  pid=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["process"]["pid"])' \
    "$WEIR_HOME/control-plane/endpoint.json")
  if tr '\0' ' ' < "/proc/$pid/cmdline" | grep not-to-be-seen; then
    echo "FAILED: the password is among the arguments"; exit 1
  fi
  kill -9 "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  # Records need no control plane; and one that forgot its database does not begin anew.
  if env -u WEIR_DATABASE_URL "$weir" cluster resume --name whole > "$work/forgot" 2>&1 ||
    ! grep -q WEIR_DATABASE_URL "$work/forgot"; then
    echo "FAILED: it should have asked for its database"; cat "$work/forgot"; exit 1
  fi
  # Nor does one that names another database, and it makes nothing there.
  "$bin/createdb" -h 127.0.0.1 -p "$port" -U weir -T template0 -E UTF8 empty
  if WEIR_DATABASE_URL="postgres://weir@127.0.0.1:$port/empty" "$weir" cluster resume \
    --name whole > "$work/elsewhere" 2>&1 || ! grep -q "is an empty one" "$work/elsewhere"; then
    echo "FAILED: it should have refused another database"; cat "$work/elsewhere"; exit 1
  fi
  must "nothing was made in another database" test "$("$bin/psql" -X -q -A -t -h 127.0.0.1 \
    -p "$port" -U weir -d empty -c "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")" = 0
  # A fresh data folder does not get the clusters of another one.
  if WEIR_HOME="$work/fresh" "$weir" cluster create --name fresh > "$work/fresh.log" 2>&1 ||
    ! grep -q "another data folder" "$work/fresh.log"; then
    echo "FAILED: a fresh folder should have been refused"; cat "$work/fresh.log"; exit 1
  fi
  # Nor does Weir move in with another program.
  "$bin/psql" -X -q -h 127.0.0.1 -p "$port" -U weir -d empty -c 'CREATE TABLE invoices (id int)'
  if WEIR_HOME="$work/guest" WEIR_DATABASE_URL="postgres://weir@127.0.0.1:$port/empty" \
    "$weir" cluster create --name guest > "$work/guest.log" 2>&1 ||
    ! grep -q "invoices" "$work/guest.log"; then
    echo "FAILED: another program's database should have been refused"
    cat "$work/guest.log"; exit 1
  fi
  # Another way to the same one will do.
  export WEIR_DATABASE_URL="postgres://weir:not-to-be-seen@localhost:$port/whole"
  must "start again" "$weir" cluster resume --name whole
  # Two of them would start every SPU twice.
  if WEIR_HOME="$work/other" "$weir" cluster create --name other > "$work/second" 2>&1 ||
    ! grep -q "another control plane" "$work/second"; then
    echo "FAILED: a second control plane should have been refused"; cat "$work/second"; exit 1
  fi
  head -n 1000 "$work/input" >> "$work/more"
  must "produce after the restart" "$weir" produce whole -f "$work/more"
  "$weir" consume whole -B -d > "$work/output"
  must "both files are there" cmp <(cat "$work/input" "$work/more") "$work/output"

  must delete "$weir" cluster delete --name whole --yes
  must "no cluster is left" test "$(sql 'SELECT count(*) FROM clusters')" = 0
  if grep -r not-to-be-seen "$WEIR_HOME"; then
    echo "FAILED: the password was written down"; exit 1
  fi
  echo "$(wc -l < "$work/output") lines went through, $(sql 'SELECT count(*) FROM audit') acts in Postgres"
}
whole

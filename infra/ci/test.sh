#!/usr/bin/env bash
# Passes all tests, simulation included. Needs a stable Rust toolchain and a C compiler;
# installs nothing.
#
#   infra/ci/test.sh            everything
#   SEEDS=200 infra/ci/test.sh  more seeds per scenario (default 20)
set -euo pipefail
cd "$(dirname "$0")/../.."

seeds="${SEEDS:-20}"
jobs="${JOBS:-2}"

echo "== real world: unit, integration and end-to-end tests"
cargo test --workspace --lib --bins --tests --no-fail-fast
cargo test --workspace --doc

echo "== simulated world: the same libraries on simulated network, clock and disks"
export RUSTFLAGS="--cfg madsim"
# The same seeds everywhere, and one test after the other, since some crates keep state of the whole
# process: what passes here passes there. Scenarios are processes of their own.
export MADSIM_TEST_SEED="${MADSIM_TEST_SEED:-1}" MADSIM_TEST_NUM="${MADSIM_TEST_NUM:-3}"
sim="--target-dir target/sim"
cargo test $sim --profile sim -p weir-protocol -p weir-runtime -p weir-dataplane -p weir-client \
  -p weir-control-plane --lib --tests -- --test-threads=1
cargo test $sim --profile sim -p weir-sim-tests --lib --bins --tests

echo "== simulation: $seeds seeds of every scenario, then every planted bug"
cargo build $sim --profile sim -p weir-sim-tests --bin sim
target/sim/sim/sim run --seeds "0..$seeds" --jobs "$jobs"
infra/ci/plants.sh target/sim/sim/sim

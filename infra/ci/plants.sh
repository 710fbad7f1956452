#!/usr/bin/env bash
# Every planted bug must be caught within 50 seeds of the scenario that is meant for it, those of
# replication within 80.
#
#   infra/ci/plants.sh [path of sim]
set -euo pipefail
cd "$(dirname "$0")/../.."
sim="${1:-target/sim/sim/sim}"

[ -x "$sim" ] || { echo "no $sim: build it as README.md says"; exit 2; }

caught() { # plant, scenario, the checks that may catch it, seeds if not all 50
  local output
  if output=$("$sim" run "$2" --plant "$1" --seeds "${4:-0..50}"); then
    echo "NOT CAUGHT: $1 passed seeds ${4:-0..50} of $2"
    echo "$output"
    exit 1
  fi
  if ! grep -qE "failed checks: .*($3)" <<<"$output"; then
    echo "CAUGHT BY ACCIDENT: $1 in $2, not by one of $3"
    echo "$output"
    exit 1
  fi
  echo "caught: $1 in $2: $(grep -o 'first failing seed.*' <<<"$output")"
}

caught ack_before_fsync spu-crash 'acknowledged_is_readable|one_offset_one_value'
caught ignore_generation topic-recreate 'generations_are_apart|one_offset_one_value|acknowledged_is_readable'
caught absence_removes topic-tombstone 'acknowledged_is_readable'
caught readiness_counts_registrations stale-spu 'running_is_true'
caught readiness_by_process provisioner-faults 'running_is_true' 0..10
caught order_forgets_step order-sweep 'scenario' 0..7
caught twin_takes_over twin-spu 'scenario' 0..4
# A cluster that waits for ever takes its time in every run: few of them suffice.
caught readiness_waits_for_count scale-down 'scenario' 0..10
caught removed_unchecked scale-down 'acknowledged_is_readable|scenario' 0..6
caught commit_on_yield consumer-crash 'nothing_is_skipped|committed_was_processed'
caught offsets_by_name recreate-offsets 'nothing_is_skipped|committed_was_processed|fenced_stays_fenced'
caught start_clamped recreate-offsets 'start_is_as_asked'
caught told_as_stored consumer-crash 'told_is_current'
caught retention_trusts_clock retention 'kept_is_readable' 0..20
caught retention_in_haste retention 'kept_is_readable' 0..20
caught flush_above_hw coordinator-crash 'committed_is_kept|committed_was_processed'
# Of replication: what a faulty cluster shows. The others are found by the search over short
# histories (dataplane/src/replica/explore), which runs with the simulated tests.
lost='acknowledged_is_readable|one_offset_one_value'
caught commit_at_append replication "$lost" 0..4
caught local_shrink replication "$lost" 0..30
caught elects_outside_isr replication "$lost" 0..30
caught wiped_stays_in_sync replica-refill "$lost" 0..80
caught moved_before_in_sync replica-move "$lost" 0..4
# Who reads what is not committed comes to stand behind the end of the log, and waits for ever.
caught follower_serves_its_log nearest-reads "$lost|scenario" 0..40
caught stops_alone orderly-stop 'scenario' 0..4
caught any_end_will_do read-to-end 'kept_is_readable' 0..40
caught nobody_is_near nearest-reads 'scenario' 0..40
caught no_freeze old-backup "$lost" 0..12
caught leads_unseen old-backup "$lost" 16..40
caught unclean_by_default unclean-election "$lost" 0..6
caught booted_anew_counts interval-power-loss "$lost" 0..6

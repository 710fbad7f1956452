//! What is so at a scrape. Found out then and not kept: on the way of a batch it costs
//! nothing.

use std::fmt;

use tokio::sync::watch;
use weir_protocol::ids::PartitionKey;
use weir_runtime::metrics::{Collector, DescriptorEncoder, gauge};

use crate::{
    partition::{Registry, Standing, View},
    session::SessionView,
};

/// Partitions that are shown one by one. More would be more than a Prometheus wants of one
/// process; how many were left out is shown instead.
const PARTITIONS_MAX: usize = 2000;

/// An SPU, as seen from outside.
pub(super) struct State {
    pub registry: Registry,
    pub session: watch::Receiver<SessionView>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let up = i64::from(self.session.borrow().up);
        let help = "Whether there is a session with the control plane";
        gauge(&mut encoder, "weir_spu_session_up", help, [(NONE, up)])?;
        partitions(&mut encoder, &self.registry.views())
    }
}

const NONE: [(&str, &str); 0] = [];

fn partitions(encoder: &mut DescriptorEncoder<'_>, views: &[(PartitionKey, View)]) -> fmt::Result {
    let states = ["leader", "follower", "idle", "opening", "offline", "closed"].map(|state| {
        let count = views.iter().filter(|(_, view)| state_of(&view.standing) == state).count();
        ([("state", state)], number(count as u64))
    });
    gauge(encoder, "weir_spu_partitions", "Replicas here, by state", states)?;

    let led = || views.iter().filter(|(_, view)| matches!(view.standing, Standing::Leader(_)));
    let left_out = led().count().saturating_sub(PARTITIONS_MAX) as u64;
    let help = "Led partitions that are not shown one by one";
    gauge(encoder, "weir_spu_partitions_left_out", help, [(NONE, number(left_out))])?;

    let led: Vec<_> = led().take(PARTITIONS_MAX).collect();
    let followed = views.iter().filter(|(_, view)| matches!(view.standing, Standing::Follower));
    let followed: Vec<_> = followed.take(PARTITIONS_MAX).collect();
    each(encoder, &led, "log_start", "Oldest kept offset of a led partition", |view| {
        view.readable.log_start.get()
    })?;
    each(encoder, &led, "high_watermark", "First offset not committed yet", |view| {
        view.readable.high_watermark.get()
    })?;
    each(encoder, &led, "log_end", "Next offset to write", |view| view.log_end.get())?;
    each(encoder, &led, "leader_epoch", "Version of the leadership", |view| {
        view.leader_epoch.get().into()
    })?;
    each(encoder, &led, "replicas", "Replicas that there are to be", |view| {
        view.replicas.0.into()
    })?;
    each(encoder, &led, "in_sync_replicas", "Replicas that are in sync", |view| {
        view.replicas.1.into()
    })?;
    each(encoder, &led, "stalled", "Whether something holds up what is to be committed", |view| {
        view.stall.is_some().into()
    })?;
    let help = "Records that are committed and that this follower lacks";
    each(encoder, &followed, "follower_lag", help, |view| {
        view.heard_high_watermark.records_since(view.log_end)
    })
}

/// One of `weir_spu_partition_*`, of each partition.
fn each(
    encoder: &mut DescriptorEncoder<'_>,
    shown: &[&(PartitionKey, View)],
    name: &str,
    help: &str,
    value: fn(&View) -> u64,
) -> fmt::Result {
    let values = shown.iter().map(|(key, view)| {
        let generation = ("generation", key.generation.to_string());
        ([generation, ("partition", key.partition.to_string())], number(value(view)))
    });
    gauge(encoder, &format!("weir_spu_partition_{name}"), help, values)
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

const fn state_of(standing: &Standing) -> &'static str {
    match standing {
        Standing::Leader(_) => "leader",
        Standing::Follower => "follower",
        Standing::Idle => "idle",
        Standing::Opening => "opening",
        Standing::Offline(_) => "offline",
        Standing::Closed => "closed",
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::{LeaderEpoch, PartitionIndex, TopicGenerationId};
    use weir_runtime::metrics::MetricSet;

    use super::*;

    #[derive(Debug)]
    struct Views(Vec<(PartitionKey, View)>);

    impl Collector for Views {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            partitions(&mut encoder, &self.0)
        }
    }

    #[test]
    fn the_number_of_series_is_bounded_and_what_is_left_out_is_told() {
        let generation = TopicGenerationId(Uuid::from_u128(1));
        let view = |index: usize| {
            let partition = PartitionIndex(u32::try_from(index).unwrap());
            let standing = match index {
                0 => Standing::Follower,
                _ => Standing::Leader(LeaderEpoch(1)),
            };
            (PartitionKey { generation, partition }, View { standing, ..View::opening() })
        };
        let set = MetricSet::new("t");
        set.collect(Views((0..PARTITIONS_MAX + 8).map(view).collect()));
        let text = set.text();
        let lines = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(lines("weir_spu_partition_log_end{"), PARTITIONS_MAX);
        assert!(text.contains("\nweir_spu_partitions_left_out 7\n"), "{text}");
        assert!(text.contains("\nweir_spu_partitions{state=\"follower\"} 1\n"));
        assert!(text.contains("\nweir_spu_partitions{state=\"leader\"} 2007\n"));
        assert_eq!(lines("weir_spu_partition_log_end{generation=\"tg_"), PARTITIONS_MAX);
    }
}

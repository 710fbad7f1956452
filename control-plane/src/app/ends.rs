//! Where logs begin and end: as their leaders say now, or as they reported last.

use std::{collections::BTreeMap, time::Duration};

use futures::future;
use weir_protocol::{
    ids::{LeaderEpoch, Offset, PartitionKey, SpuId},
    pb::data::{ListOffset, Start, start::Position},
};

use super::{
    App,
    reach::Reach,
    view::{self, Seen},
};
use crate::{data_plane::list_offsets::list_offsets, store::partitions::PartitionRow};

/// Who leads a partition, as the database knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Led {
    /// Which partition.
    pub key: PartitionKey,
    /// Who leads, if anybody.
    pub leader: Option<SpuId>,
    /// Version of the leadership.
    pub epoch: LeaderEpoch,
}

impl From<&PartitionRow> for Led {
    fn from(row: &PartitionRow) -> Self {
        Self { key: row.key, leader: row.leader, epoch: row.leader_epoch }
    }
}

/// What can be read of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// Oldest kept offset.
    pub log_start: Offset,
    /// First offset that is not committed yet.
    pub end: Offset,
    /// The leader said so right now, and not in a report of before.
    pub current: bool,
}

/// By partition; those that nobody knows of are left out.
pub(super) type AllEnds = BTreeMap<PartitionKey, Ends>;

/// Asks all leaders at once that have a session. What one does not answer within `limit` is
/// left out.
pub(super) async fn now(
    app: &App,
    reach: &Reach,
    seen: &Seen,
    partitions: &[Led],
    limit: Duration,
) -> AllEnds {
    let mut by_leader: BTreeMap<SpuId, Vec<Led>> = BTreeMap::new();
    for led in partitions {
        let standing =
            |leader: &SpuId| seen.get(leader).is_some_and(|spu| spu.standing().is_some());
        if let Some(leader) = led.leader.filter(standing) {
            by_leader.entry(leader).or_default().push(*led);
        }
    }
    let asked = by_leader.into_iter().map(|(leader, of)| ask(app, reach, leader, of, limit));
    future::join_all(asked).await.into_iter().flatten().collect()
}

/// What leaders reported last.
pub(super) fn reported(seen: &Seen, partitions: impl Iterator<Item = Led>) -> AllEnds {
    let reports = partitions.filter_map(|led| {
        let status = view::reported(led.leader, led.key, seen)?;
        let (log_start, end) = (Offset(status.log_start), Offset(status.high_watermark));
        Some((led.key, Ends { log_start, end, current: false }))
    });
    reports.collect()
}

/// Asks one leader about what it leads.
async fn ask(app: &App, reach: &Reach, leader: SpuId, of: Vec<Led>, limit: Duration) -> AllEnds {
    let Some(spu) = reach.spu(leader) else { return AllEnds::new() };
    // The end, and not the beginning: a leader that does not know yet what is committed says so.
    let start = Start { position: Some(Position::End(true)), ..Start::default() };
    let questions: Vec<_> = of
        .iter()
        .map(|led| ListOffset {
            partition: Some(led.key.to_wire()),
            leader_epoch: led.epoch.get(),
            start: Some(start),
        })
        .collect();
    let asked = Box::pin(list_offsets(app.clock, spu, &questions));
    let answers = app.clock.timeout(limit, asked).await;
    let answers = match answers.map_err(Into::into).flatten() {
        Ok(answers) => answers,
        Err(error) => {
            tracing::debug!(spu = %leader, %error, "it does not say where its logs end");
            return AllEnds::new();
        }
    };
    let found = of.iter().zip(answers).filter_map(|(led, answer)| {
        let found = answer.ok()?;
        let (log_start, end) = (Offset(found.log_start), Offset(found.high_watermark));
        Some((led.key, Ends { log_start, end, current: true }))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::{
        ids::{ClusterId, Incarnation, LaunchId, PartitionIndex, Revision, TopicGenerationId},
        pb::session::ReplicaStatus,
    };
    use weir_runtime::clock::Clock;

    use super::*;
    use crate::app::StatusBoard;

    #[tokio::test]
    async fn reports_are_told_as_reports_while_the_session_stands() {
        let (board, now) = (StatusBoard::default(), Clock.now());
        let cluster = ClusterId(Uuid::nil());
        let led = |index, leader| {
            let generation = TopicGenerationId(Uuid::from_u128(1));
            let key = PartitionKey { generation, partition: PartitionIndex(index) };
            Led { key, leader, epoch: LeaderEpoch(1) }
        };
        let session =
            board.session_up(cluster, SpuId(1), LaunchId(Uuid::nil()), Incarnation(1), now);
        let status = ReplicaStatus {
            partition: Some(led(0, None).key.to_wire()),
            log_start: 2,
            high_watermark: 10,
            ..ReplicaStatus::default()
        };
        assert!(board.heartbeat(cluster, SpuId(1), session, Revision(1), vec![status], now));
        let all =
            [led(0, Some(SpuId(1))), led(1, Some(SpuId(1))), led(2, Some(SpuId(2))), led(3, None)];
        let found = reported(&board.cluster(cluster), all.into_iter());
        let ends = Ends { log_start: Offset(2), end: Offset(10), current: false };
        assert_eq!(found, [(all[0].key, ends)].into());
        assert!(board.session_down(cluster, SpuId(1), session));
        assert!(reported(&board.cluster(cluster), all.into_iter()).is_empty());
    }
}

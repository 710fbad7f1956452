//! Which offsets a place means. The leaders of the partitions know, and decide by the same
//! function that readers begin by.

use std::collections::BTreeMap;

use futures::future;
use weir_protocol::{
    ErrorCode, WireError,
    ids::{PartitionIndex, SpuId},
    pb::data::{ListOffset, Start, Started, start::Position},
};

use super::{App, AppError, reach::Reach};
use crate::{data_plane::list_offsets::list_offsets, store::partitions::PartitionRow};

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetTo {
    /// The oldest kept record.
    Beginning,
    /// After the last committed record.
    End,
    /// This very offset.
    Offset(u64),
    /// So many offsets behind the oldest kept record.
    FromBeginning(u64),
    /// So many offsets before the end.
    FromEnd(u64),
    /// The first record whose timestamp, in milliseconds since 1970, is not below this; where
    /// there is none, the end.
    Timestamp(i64),
}

impl ResetTo {
    fn to_wire(self) -> Start {
        let position = match self {
            Self::Beginning => Position::Beginning(true),
            Self::End => Position::End(true),
            Self::Offset(offset) => Position::Absolute(offset),
            Self::FromBeginning(count) => Position::FromBeginning(count),
            Self::FromEnd(count) => Position::FromEnd(count),
            Self::Timestamp(ms) => Position::TimestampMs(ms),
        };
        // Out of range is an error: nobody is sent somewhere else than they asked.
        Start { position: Some(position), ..Start::default() }
    }
}

/// What the place is in each of the partitions, in their order.
pub(super) async fn resolve(
    app: &App,
    reach: &Reach,
    topic: &str,
    partitions: &[PartitionRow],
    to: ResetTo,
) -> Result<Vec<Started>, AppError> {
    let mut by_leader: BTreeMap<Option<SpuId>, Vec<&PartitionRow>> = BTreeMap::new();
    for row in partitions {
        by_leader.entry(row.leader).or_default().push(row);
    }
    let asked =
        by_leader.into_iter().map(|(leader, rows)| ask(app, reach, topic, leader, rows, to));
    let mut found: BTreeMap<PartitionIndex, Started> =
        future::try_join_all(asked).await?.into_iter().flatten().collect();
    Ok(partitions.iter().filter_map(|row| found.remove(&row.key.partition)).collect())
}

/// Asks one leader about all that it leads.
async fn ask(
    app: &App,
    reach: &Reach,
    topic: &str,
    leader: Option<SpuId>,
    rows: Vec<&PartitionRow>,
    to: ResetTo,
) -> Result<Vec<(PartitionIndex, Started)>, AppError> {
    let first = rows.first().map(|row| row.key.partition).unwrap_or_default();
    let unavailable = |partition: PartitionIndex, reason: String| AppError::LeaderUnavailable {
        topic: topic.to_owned(),
        partition: partition.get(),
        reason,
    };
    let spu = leader.and_then(|leader| reach.spu(leader));
    let spu = spu.ok_or_else(|| unavailable(first, "it has no leader right now".to_owned()))?;
    let questions: Vec<_> = rows
        .iter()
        .map(|row| ListOffset {
            partition: Some(row.key.to_wire()),
            leader_epoch: row.leader_epoch.get(),
            start: Some(to.to_wire()),
        })
        .collect();
    let answers = list_offsets(app.clock, spu, &questions)
        .await
        .map_err(|error| unavailable(first, error.to_string()))?;
    rows.iter()
        .zip(answers)
        .map(|(row, answer)| {
            let partition = row.key.partition;
            let refused = |error: WireError| match error.code {
                ErrorCode::OffsetOutOfRange => AppError::OffsetOutOfRange {
                    topic: topic.to_owned(),
                    partition: partition.get(),
                    log_start: error.wire.log_start.unwrap_or_default(),
                    end: error.wire.high_watermark.unwrap_or_default(),
                },
                ErrorCode::TopicDeleted | ErrorCode::TopicRecreated => {
                    AppError::TopicDeleted(topic.to_owned())
                }
                _ => unavailable(partition, error.to_string()),
            };
            Ok((partition, answer.map_err(refused)?))
        })
        .collect()
}

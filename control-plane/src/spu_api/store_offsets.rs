//! What consumers have committed, from the coordinators into SQL. The offsets topic is the
//! truth: what is stored here may be late, and a coordinator tells it again after each
//! change of leader.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message as _;
use secrecy::SecretString;
use tonic::{Code, Status};
use weir_protocol::{
    ErrorCode, WireError,
    ids::{Incarnation, LeaderEpoch, Offset, PartitionKey, SpuId, TopicGenerationId},
    pb::session::{StoreOffsetsRequest, StoreOffsetsResponse, StoredOffset},
};

use super::claim::{self, Claim};
use crate::{
    app::App,
    plan::names::{self, OFFSETS_TOPIC},
    store::{
        DbError, DbResult, Scoped,
        consumer_offsets::{self, Change, Committed},
        partitions, topics,
        types::{Desired, TopicState},
    },
};

/// Entries of one request.
const OFFSETS_MAX: usize = 1_000;
/// Longest metadata of a commit, in bytes.
const METADATA_BYTES_MAX: usize = 4_096;
/// What a cluster is to be while offsets are taken. At an orderly shutdown coordinators tell
/// what was committed last.
const WHILE: [Desired; 2] = [Desired::Running, Desired::Shutdown];

struct Asked {
    claim: Claim,
    offsets_partition: PartitionKey,
    leader_epoch: LeaderEpoch,
    changes: Vec<Change>,
}

fn parse(message: StoreOffsetsRequest) -> Result<Asked, Status> {
    let partition = message.offsets_partition.as_ref().and_then(PartitionKey::from_wire);
    let offsets_partition =
        partition.ok_or_else(|| Status::invalid_argument("it names no offsets partition"))?;
    if message.offsets.len() > OFFSETS_MAX {
        return Err(Status::invalid_argument(format!("a request may have {OFFSETS_MAX} offsets")));
    }
    let changes: Result<_, _> = message.offsets.into_iter().map(change).collect();
    Ok(Asked {
        claim: Claim {
            org: message.org_id.parse().map_err(claim::invalid)?,
            cluster: message.cluster_id.parse().map_err(claim::invalid)?,
            spu: SpuId(message.spu_id),
            incarnation: Incarnation(message.incarnation),
            launch: message.launch_id.parse().map_err(claim::invalid)?,
            secret: SecretString::from(message.launch_secret),
        },
        offsets_partition,
        leader_epoch: LeaderEpoch(message.leader_epoch),
        changes: changes.map_err(Status::invalid_argument)?,
    })
}

fn change(message: StoredOffset) -> Result<Change, String> {
    names::consumer_name(&message.consumer).map_err(|error| format!("consumer: {error}"))?;
    let partition = message.partition.as_ref().and_then(PartitionKey::from_wire);
    let too_large = [Some(message.position), message.next_offset]
        .into_iter()
        .flatten()
        .any(|offset| Offset(offset) > Offset::MAX);
    if too_large {
        return Err("an offset is larger than any can be".to_owned());
    }
    if message.metadata.len() > METADATA_BYTES_MAX {
        return Err(format!("metadata may have {METADATA_BYTES_MAX} bytes"));
    }
    let committed = (!message.deleted).then(|| Committed {
        next_offset: message.next_offset.map(Offset),
        leader_epoch: message.leader_epoch.map(LeaderEpoch),
        // Postgres has no text with a NUL in it, and one odd commit must not keep back all
        // that come after it.
        metadata: message.metadata.replace('\0', "\u{fffd}"),
        committed_at_unix_ms: message.committed_at_unix_ms,
    });
    Ok(Change {
        consumer: message.consumer,
        partition: partition.ok_or("an offset names no partition")?,
        position: Offset(message.position),
        committed,
    })
}

/// Stores what changed in one partition of the offsets topic.
///
/// # Errors
/// As [`super::producer_ids::allocate`]; `NOT_LEADER`, `FENCED_LEADER_EPOCH` and
/// `UNKNOWN_LEADER_EPOCH` as details of the status.
pub async fn store(
    app: &Arc<App>,
    message: StoreOffsetsRequest,
) -> Result<StoreOffsetsResponse, Status> {
    let asked = parse(message)?;
    let unavailable = |error: DbError| {
        tracing::warn!(%error, "offsets could not be stored");
        Status::unavailable("the database did not answer; try again")
    };
    let mut tx = app.store.write().await.map_err(unavailable)?;
    let mut scoped = tx.scoped(asked.claim.org);
    asked.claim.check(app, &mut scoped, &WHILE).await.map_err(unavailable)??;
    check_leader(&mut scoped, &asked).await.map_err(unavailable)?.map_err(status)?;
    let gone = take(&mut scoped, &asked, app.now_unix_ms()).await.map_err(unavailable)?;
    tx.commit().await.map_err(unavailable)?;
    tracing::debug!(cluster = %asked.claim.cluster, partition = %asked.offsets_partition,
        count = asked.changes.len(), gone = gone.len(), "offsets stored");
    let gone_generation_ids = gone.into_iter().map(TopicGenerationId::to_wire).collect();
    Ok(StoreOffsetsResponse { gone_generation_ids })
}

fn status(error: WireError) -> Status {
    let details = error.wire.encode_to_vec().into();
    Status::with_details(Code::FailedPrecondition, error.to_string(), details)
}

/// Whether the SPU leads this partition of the offsets topic, at this epoch.
async fn check_leader(scoped: &mut Scoped<'_>, asked: &Asked) -> DbResult<Result<(), WireError>> {
    let (cluster, key) = (asked.claim.cluster, asked.offsets_partition);
    let topic = topics::by_name(scoped, cluster, OFFSETS_TOPIC).await?;
    let row = match topic {
        Some(topic) if topic.generation == key.generation => {
            partitions::get(scoped, cluster, key).await?
        }
        _ => None,
    };
    let Some(row) = row else {
        let text = format!("{key} is no partition of the offsets topic");
        return Ok(Err(WireError::new(ErrorCode::UnknownPartition, text)));
    };
    let (code, text) = if row.leader != Some(asked.claim.spu) {
        (ErrorCode::NotLeader, "another SPU leads the offsets partition")
    } else if asked.leader_epoch < row.leader_epoch {
        (ErrorCode::FencedLeaderEpoch, "the offsets partition has a newer leader epoch")
    } else if asked.leader_epoch > row.leader_epoch {
        (ErrorCode::UnknownLeaderEpoch, "the database does not know this leader epoch")
    } else {
        return Ok(Ok(()));
    };
    let mut error = WireError::new(code, text);
    error.wire.leader_spu_id = row.leader.map(SpuId::get);
    error.wire.leader_epoch = Some(row.leader_epoch.get());
    Ok(Err(error))
}

/// Takes the changes; answers the generations that are gone.
async fn take(
    scoped: &mut Scoped<'_>,
    asked: &Asked,
    now_unix_ms: i64,
) -> DbResult<Vec<TopicGenerationId>> {
    let cluster = asked.claim.cluster;
    let mut there: BTreeMap<TopicGenerationId, bool> = BTreeMap::new();
    for change in &asked.changes {
        let generation = change.partition.generation;
        let known = match there.get(&generation) {
            Some(known) => *known,
            None => {
                let row = topics::by_id(scoped, cluster, generation).await?;
                // What is on its way out takes nothing any more.
                let known = row.is_some_and(|row| {
                    matches!(row.state, TopicState::Active | TopicState::Tombstone)
                });
                there.insert(generation, known);
                known
            }
        };
        if known {
            consumer_offsets::store(scoped, cluster, change, now_unix_ms).await?;
        }
    }
    Ok(there.into_iter().filter(|(_, known)| !known).map(|(generation, _)| generation).collect())
}

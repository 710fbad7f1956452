//! `Offsets`: named consumers at the edge. Who asks, and is it a request at all?

use std::{collections::BTreeSet, sync::Arc};

use tonic::metadata::MetadataMap;
use weir_protocol::{
    ErrorCode, WireError,
    ids::{LeaderEpoch, Offset, PartitionKey},
    pb::{
        data::PartitionRef,
        offsets::{
            CommitRequest, CommitResponse, CommittedOffset, DeleteRequest, DeleteResponse,
            DescribeRequest, DescribeResponse, HeldOffset, OpenSessionRequest, OpenSessionResponse,
            ResetRequest, ResetResponse,
        },
    },
    token::Scope,
};
use weir_runtime::trace::{self, Kind};

use super::{Shared, auth};
use crate::{
    coordinator::{
        describe::Part,
        record::{Committed, SessionId},
        request::{Answer, Request, Verb},
    },
    token,
};

/// Largest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Largest name of a consumer, in bytes.
const NAME_BYTES_MAX: usize = 249;
/// Partitions of one request.
const PARTITIONS_MAX: usize = 10_000;
/// Metadata of one commit, in bytes.
const METADATA_BYTES_MAX: usize = 4_096;

pub(super) async fn open_session(
    shared: &Shared,
    metadata: &MetadataMap,
    asked: OpenSessionRequest,
) -> Result<OpenSessionResponse, WireError> {
    let consumer = admit(shared, metadata, Scope::Consume, &asked.consumer)?;
    let session = session(&asked.session_id)?;
    let partitions = partitions(asked.partitions.iter().map(Some), 1)?;
    let verb = Verb::OpenSession { session, partitions };
    match ask(shared, "open_session", consumer, verb).await? {
        Answer::Opened(found) => Ok(OpenSessionResponse {
            committed: found.iter().map(|(key, committed)| committed.to_wire(*key)).collect(),
        }),
        other => Err(stray(&other)),
    }
}

pub(super) async fn commit(
    shared: &Shared,
    metadata: &MetadataMap,
    asked: CommitRequest,
) -> Result<CommitResponse, WireError> {
    let consumer = admit(shared, metadata, Scope::Consume, &asked.consumer)?;
    let session = session(&asked.session_id)?;
    let offsets = offsets(asked.offsets)?;
    let verb = Verb::Commit { session, sequence: asked.sequence, offsets };
    match ask(shared, "commit", consumer, verb).await? {
        Answer::Committed => Ok(CommitResponse {}),
        other => Err(stray(&other)),
    }
}

pub(super) async fn reset(
    shared: &Shared,
    metadata: &MetadataMap,
    asked: ResetRequest,
) -> Result<ResetResponse, WireError> {
    let consumer = admit(shared, metadata, Scope::Internal, &asked.consumer)?;
    let session = session(&asked.session_id)?;
    let offsets = offsets(asked.offsets)?;
    match ask(shared, "reset", consumer, Verb::Reset { session, offsets }).await? {
        Answer::Reset(before) => Ok(ResetResponse { before: before.iter().map(bare).collect() }),
        other => Err(stray(&other)),
    }
}

pub(super) async fn delete(
    shared: &Shared,
    metadata: &MetadataMap,
    asked: DeleteRequest,
) -> Result<DeleteResponse, WireError> {
    let consumer = admit(shared, metadata, Scope::Internal, &asked.consumer)?;
    let partitions = partitions(asked.partitions.iter().map(Some), 0)?;
    match ask(shared, "delete", consumer, Verb::Delete { partitions }).await? {
        Answer::Deleted(partitions) => Ok(DeleteResponse { partitions }),
        other => Err(stray(&other)),
    }
}

pub(super) async fn describe(
    shared: &Shared,
    metadata: &MetadataMap,
    asked: DescribeRequest,
) -> Result<DescribeResponse, WireError> {
    let consumer = admit(shared, metadata, Scope::Internal, &asked.consumer)?;
    let after = partitions(asked.after.iter().map(Some), 0)?.pop();
    let verb = Verb::Describe {
        least_epoch: LeaderEpoch(asked.leader_epoch),
        after,
        limit: usize::try_from(asked.limit).unwrap_or(usize::MAX),
    };
    match ask(shared, "describe", consumer, verb).await? {
        Answer::Described(Part { held, more }) => {
            Ok(DescribeResponse { offsets: held.into_iter().map(to_held).collect(), more })
        }
        other => Err(stray(&other)),
    }
}

/// Without its metadata: that of many partitions is more than an answer takes.
fn bare((key, committed): &(PartitionKey, Committed)) -> CommittedOffset {
    CommittedOffset { metadata: String::new(), ..committed.to_wire(*key) }
}

fn to_held((key, committed): (PartitionKey, Option<Committed>)) -> HeldOffset {
    let Some(committed) = committed else {
        return HeldOffset { partition: Some(key.to_wire()), ..HeldOffset::default() };
    };
    HeldOffset {
        partition: Some(key.to_wire()),
        next_offset: Some(committed.next_offset.get()),
        leader_epoch: committed.leader_epoch.map(LeaderEpoch::get),
        metadata: committed.metadata.as_ref().to_owned(),
        committed_at_unix_ms: committed.at_unix_ms,
    }
}

/// Whether the bearer may ask this of a consumer, which has to have a name.
fn admit(
    shared: &Shared,
    metadata: &MetadataMap,
    scope: Scope,
    consumer: &str,
) -> Result<Arc<str>, WireError> {
    let claims = auth::bearer(&shared.tokens, metadata)?;
    token::require(&claims, scope)?;
    let fits = (1..=NAME_BYTES_MAX).contains(&consumer.len());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    // Neither can be told in a path of a URL.
    let dots = matches!(consumer, "." | "..");
    if !fits || dots || !consumer.bytes().all(allowed) {
        let text = format!(
            "a consumer's name is 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ - and neither . nor .."
        );
        return Err(invalid(text));
    }
    Ok(consumer.into())
}

async fn ask(
    shared: &Shared,
    call: &str,
    consumer: Arc<str>,
    verb: Verb,
) -> Result<Answer, WireError> {
    let _promise = shared.promises.promise()?;
    let answer = shared.coordinator.ask(Request { consumer: consumer.clone(), verb }).await;
    trace::line(Kind::Rpc, || match &answer {
        Ok(_) => format!("{call} {consumer}"),
        Err(error) => format!("{call} {consumer} {}", error.code),
    });
    if let Err(error) = &answer {
        tracing::debug!(call, %consumer, %error, "refused");
    }
    answer
}

fn session(bytes: &[u8]) -> Result<SessionId, WireError> {
    SessionId::from_wire(bytes).ok_or_else(|| invalid("a session id has 16 bytes"))
}

/// The partitions of a request, each named once.
fn partitions<'a>(
    asked: impl ExactSizeIterator<Item = Option<&'a PartitionRef>>,
    least: usize,
) -> Result<Vec<PartitionKey>, WireError> {
    if !(least..=PARTITIONS_MAX).contains(&asked.len()) {
        let text = format!("a request names {least} to {PARTITIONS_MAX} partitions");
        return Err(invalid(text));
    }
    let mut seen = BTreeSet::new();
    let keys = asked.map(|asked| {
        let key = asked
            .and_then(PartitionKey::from_wire)
            .ok_or_else(|| invalid("a partition of the request names no generation of 16 bytes"))?;
        match seen.insert(key) {
            true => Ok(key),
            false => Err(invalid(format!("the request names {key} twice"))),
        }
    });
    keys.collect()
}

/// The offsets of a request, each partition once.
fn offsets(asked: Vec<CommittedOffset>) -> Result<Vec<(PartitionKey, Committed)>, WireError> {
    let keys = partitions(asked.iter().map(|asked| asked.partition.as_ref()), 1)?;
    let offsets = keys.into_iter().zip(asked).map(|(key, asked)| {
        if asked.metadata.len() > METADATA_BYTES_MAX {
            let text = format!("the metadata for {key} is longer than {METADATA_BYTES_MAX} bytes");
            return Err(invalid(text));
        }
        if asked.next_offset > Offset::MAX.get() {
            return Err(invalid(format!("the offset for {key} is larger than any record's")));
        }
        let committed = Committed {
            next_offset: Offset(asked.next_offset),
            leader_epoch: asked.leader_epoch.map(LeaderEpoch),
            metadata: asked.metadata.into(),
            at_unix_ms: 0,
        };
        Ok((key, committed))
    });
    offsets.collect()
}

fn invalid(text: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::InvalidRequest, text)
}

/// The coordinator answered another question: a bug.
fn stray(answer: &Answer) -> WireError {
    tracing::error!(?answer, "the coordinator answered another question");
    WireError::new(ErrorCode::Internal, "the coordinator answered another question")
}

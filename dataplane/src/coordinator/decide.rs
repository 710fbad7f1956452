//! What a request changes, if it may change anything. Pure.
//!
//! A request is judged whole before anything of it is put on the staged state: it takes
//! effect as a whole or not at all.

use weir_protocol::{ErrorCode, WireError, ids::PartitionKey};
use weir_runtime::plant;

use super::{
    describe::describe,
    record::{Committed, FIXED_BYTES, Key, Record, SessionId, Value},
    request::{Answer, Request, Verb},
    staged::Staged,
};
use crate::metadata::{ClusterMap, map::Generation, resolve};

/// The most that a claim may write, in bytes, about: what is committed is written again with
/// it, and answered.
const CLAIM_BYTES_MAX: usize = 8 << 20;

/// How much one offsets partition may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Keys: pairs of a consumer and a partition.
    pub keys_max: usize,
    /// Bytes of the keys' metadata.
    pub metadata_bytes_max: usize,
}

/// Puts what the request changes on the staged state; the answer holds once that is committed.
///
/// # Errors
/// What resolving the generations says, `CONSUMER_FENCED`, `OVERLOADED`, `INVALID_REQUEST` for
/// a claim of too much at once. Nothing is put.
pub fn decide(
    staged: &mut Staged<'_>,
    map: &ClusterMap,
    bounds: Bounds,
    now_ms: i64,
    request: &Request,
) -> Result<Answer, WireError> {
    let key = |partition: &PartitionKey| Key {
        consumer: request.consumer.clone(),
        partition: *partition,
    };
    match &request.verb {
        Verb::OpenSession { session, partitions } => {
            let keys: Vec<_> = partitions.iter().map(key).collect();
            served(map, &keys)?;
            // What is committed stays.
            let kept = |key| staged.get(key).map_or(0, Value::metadata_bytes);
            writable(keys.iter().map(|key| FIXED_BYTES + key.consumer.len() + kept(key)).sum())?;
            room(staged, bounds, keys.iter().map(|key| (key, kept(key))))?;
            Ok(Answer::Opened(open(staged, map, *session, keys)))
        }
        Verb::Commit { session, sequence, offsets } => {
            let (keys, offsets) = unzip(offsets, key);
            served(map, &keys)?;
            let values = claimed(staged, map, *session, &keys)?;
            let sizes = offsets.iter().map(|committed| committed.metadata.len());
            room(staged, bounds, keys.iter().zip(sizes))?;
            for ((key, committed), value) in keys.into_iter().zip(offsets).zip(values) {
                // A repetition that comes late must not undo what came after it.
                if *sequence > value.sequence {
                    let committed = Some(Committed { at_unix_ms: now_ms, ..committed });
                    let value = Value { session: *session, sequence: *sequence, committed };
                    staged.put(Record { key, value: Some(value) });
                }
            }
            Ok(Answer::Committed)
        }
        Verb::Reset { session, offsets } => {
            let (keys, offsets) = unzip(offsets, key);
            served(map, &keys)?;
            let sizes = offsets.iter().map(|committed| committed.metadata.len());
            room(staged, bounds, keys.iter().zip(sizes))?;
            let mut before = Vec::new();
            for (key, committed) in keys.into_iter().zip(offsets) {
                let had = staged.get(&key).and_then(|value| value.committed.clone());
                before.extend(had.map(|had| (key.partition, had)));
                let committed = Some(Committed { at_unix_ms: now_ms, ..committed });
                let value = Value { session: *session, sequence: 0, committed };
                staged.put(Record { key, value: Some(value) });
            }
            Ok(Answer::Reset(before))
        }
        Verb::Delete { partitions } => {
            let known = staged.of_consumer(&request.consumer);
            let forgotten: Vec<_> = match partitions.as_slice() {
                [] => known.iter().map(key).collect(),
                named => named.iter().filter(|named| known.contains(named)).map(key).collect(),
            };
            let count = u32::try_from(forgotten.len()).unwrap_or(u32::MAX);
            for key in forgotten {
                staged.put(Record { key, value: None });
            }
            Ok(Answer::Deleted(count))
        }
        Verb::Describe { after, limit, .. } => {
            Ok(Answer::Described(describe(staged, &request.consumer, *after, *limit)))
        }
    }
}

/// Whether so much may be written by one claim.
fn writable(bytes: usize) -> Result<(), WireError> {
    if bytes <= CLAIM_BYTES_MAX {
        return Ok(());
    }
    let text = format!(
        "what is committed for these partitions takes {bytes} bytes with its metadata, and one request claims {CLAIM_BYTES_MAX} at most; claim fewer partitions at once"
    );
    Err(WireError::new(ErrorCode::InvalidRequest, text))
}

/// Claims the partitions; gives what is committed for them. Written even where the session
/// has them already: the answer then comes from a leader that still is one.
fn open(
    staged: &mut Staged<'_>,
    map: &ClusterMap,
    session: SessionId,
    keys: Vec<Key>,
) -> Vec<(PartitionKey, Committed)> {
    let mut found = Vec::new();
    for key in keys {
        let before = holds(staged, map, &key);
        let same = before.as_ref().filter(|value| value.session == session);
        let sequence = same.map_or(0, |value| value.sequence);
        let committed = before.and_then(|value| value.committed);
        if let Some(committed) = &committed {
            found.push((key.partition, committed.clone()));
        }
        staged.put(Record { key, value: Some(Value { session, sequence, committed }) });
    }
    found
}

fn unzip(
    offsets: &[(PartitionKey, Committed)],
    key: impl Fn(&PartitionKey) -> Key,
) -> (Vec<Key>, Vec<Committed>) {
    offsets.iter().map(|(partition, committed)| (key(partition), committed.clone())).unzip()
}

/// Whether every partition is one that consumers read: of an active topic that is not internal.
fn served(map: &ClusterMap, keys: &[Key]) -> Result<(), WireError> {
    for Key { partition, .. } in keys {
        let generation = match resolve::served(map, *partition) {
            Ok(generation) => generation,
            Err(refused) => planted_generation(map, *partition).ok_or(refused)?,
        };
        if generation.internal() {
            let text = format!("{partition} is of an internal topic, which has no consumers");
            return Err(WireError::new(ErrorCode::Forbidden, text));
        }
        resolve::has_partition(generation, *partition)?;
    }
    Ok(())
}

/// What holds for each key, if the session has claimed them all.
fn claimed(
    staged: &Staged<'_>,
    map: &ClusterMap,
    session: SessionId,
    keys: &[Key],
) -> Result<Vec<Value>, WireError> {
    let fenced = |key: &Key, why: &str| {
        let (consumer, partition) = (&key.consumer, key.partition);
        let text = format!("consumer {consumer:?} may not commit for {partition}: {why}");
        WireError::new(ErrorCode::ConsumerFenced, text)
    };
    let claimed = keys.iter().map(|key| match holds(staged, map, key) {
        Some(value) if value.session == session => Ok(value),
        Some(_) => Err(fenced(key, "a newer session has claimed the partition")),
        None => Err(fenced(key, "its session never claimed it, or it was deleted since")),
    });
    claimed.collect()
}

/// Whether the keys fit in, each with so many bytes of metadata from now on.
fn room<'k>(
    staged: &Staged<'_>,
    bounds: Bounds,
    keys: impl Iterator<Item = (&'k Key, usize)>,
) -> Result<(), WireError> {
    let (mut fresh, mut added, mut freed) = (0, 0, 0);
    for (key, size) in keys {
        let before = staged.get(key);
        fresh += usize::from(before.is_none());
        freed += before.map_or(0, Value::metadata_bytes);
        added += size;
    }
    if fresh > 0 && staged.keys() + fresh > bounds.keys_max {
        let text = format!(
            "the coordinator holds offsets of as many partitions as it may, {}; delete consumers that are no longer used",
            bounds.keys_max
        );
        return Err(WireError::new(ErrorCode::Overloaded, text));
    }
    if added > freed && staged.metadata_bytes() + added - freed > bounds.metadata_bytes_max {
        let text = format!(
            "the coordinator holds as much metadata of commits as it may, {} bytes; commit with less, or with none",
            bounds.metadata_bytes_max
        );
        return Err(WireError::new(ErrorCode::Overloaded, text));
    }
    Ok(())
}

/// What holds for a key.
fn holds(staged: &Staged<'_>, map: &ClusterMap, key: &Key) -> Option<Value> {
    staged.get(key).cloned().or_else(|| planted_value(staged, map, key))
}

/// The planted bug "offsets_by_name": a coordinator that goes by the topic's name gives a
/// topic that was created again what was committed for the deleted one.
fn planted_value(staged: &Staged<'_>, map: &ClusterMap, key: &Key) -> Option<Value> {
    if !plant::active("offsets_by_name") {
        return None;
    }
    let name = map.generation(key.partition.generation)?.name();
    let others = map.generations().filter(|other| other.name() == name);
    let mut values = others.filter_map(|other| {
        let partition = PartitionKey { generation: other.id, ..key.partition };
        staged.get(&Key { partition, ..key.clone() }).cloned()
    });
    values.next()
}

/// The same bug takes commits for a deleted topic: it has the name still.
fn planted_generation(map: &ClusterMap, partition: PartitionKey) -> Option<&Generation> {
    if !plant::active("offsets_by_name") {
        return None;
    }
    map.generation(partition.generation)
}

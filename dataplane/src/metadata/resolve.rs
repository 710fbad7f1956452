//! What the generation and partition of a request are to this SPU. Pure.

use weir_protocol::{
    ErrorCode, WireError,
    ids::PartitionKey,
    pb::data::PartitionRef,
    token::{Claims, Scope},
};
use weir_runtime::plant;

use super::map::{ClusterMap, Generation};
use crate::token;

/// The partition that a request is for: known, active, and permitted to the bearer.
///
/// # Errors
/// `INVALID_REQUEST`, `UNKNOWN_GENERATION`, `TOPIC_RECREATED` with the successor,
/// `TOPIC_DELETED`, `FORBIDDEN`, `UNKNOWN_PARTITION`.
pub fn resolve(
    map: &ClusterMap,
    asked: Option<&PartitionRef>,
    claims: &Claims,
) -> Result<PartitionKey, WireError> {
    let mut key = asked.and_then(PartitionKey::from_wire).ok_or_else(|| {
        WireError::new(ErrorCode::InvalidRequest, "the request names no generation of 16 bytes")
    })?;
    let generation = match served(map, key) {
        Ok(generation) => generation,
        Err(refused) => planted_substitute(map, key).ok_or(refused)?,
    };
    key.generation = generation.id;
    if generation.internal() {
        token::require(claims, Scope::Internal)?;
    }
    has_partition(generation, key)?;
    Ok(key)
}

/// Whether the generation has the partition.
///
/// # Errors
/// `UNKNOWN_PARTITION`.
pub fn has_partition(generation: &Generation, key: PartitionKey) -> Result<(), WireError> {
    if generation.partition(key.partition).is_some() {
        return Ok(());
    }
    let text = format!("the generation has {} partitions", generation.wire.partitions.len());
    Err(WireError::new(ErrorCode::UnknownPartition, text))
}

/// The generation of a partition, if it is known and active.
///
/// # Errors
/// `UNKNOWN_GENERATION`, `TOPIC_RECREATED` with the successor, `TOPIC_DELETED`.
pub fn served(map: &ClusterMap, key: PartitionKey) -> Result<&Generation, WireError> {
    let Some(generation) = map.generation(key.generation) else {
        let text = "this SPU does not know the topic generation; resolve the name again";
        return Err(WireError::new(ErrorCode::UnknownGeneration, text));
    };
    if generation.active {
        return Ok(generation);
    }
    let Some(successor) = map.newest_active(generation.name()) else {
        return Err(WireError::new(ErrorCode::TopicDeleted, "the topic was deleted"));
    };
    let text = "the topic was deleted and created again";
    let mut error = WireError::new(ErrorCode::TopicRecreated, text);
    error.wire.successor_generation_id = successor.id.to_wire();
    Err(error)
}

/// The planted bug "ignore_generation": a server that goes by the topic's name serves the
/// newest generation to whoever asks for an old one. (Of one whose purge is over not even the
/// name is left, so it stays unknown.)
fn planted_substitute(map: &ClusterMap, key: PartitionKey) -> Option<&Generation> {
    if !plant::active("ignore_generation") {
        return None;
    }
    map.newest_active(map.generation(key.generation)?.name())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::{
        ids::{ClusterId, OrgId, TopicGenerationId},
        pb::metadata::GenerationState,
    };

    use super::*;
    use crate::metadata::map::tests::{topic, update};

    fn ask(
        generation: u128,
        partition: u32,
        scopes: Vec<Scope>,
    ) -> Result<PartitionKey, WireError> {
        let (active, gone) = (GenerationState::Active, GenerationState::Tombstone);
        let mut map = ClusterMap::default();
        let topics = vec![
            topic(1, 1, "again", gone),
            topic(2, 2, "again", gone),
            topic(3, 3, "again", active),
            topic(4, 1, "deleted", gone),
            topic(5, 1, "__own", active),
            topic(6, 1, "purged", GenerationState::Purged),
        ];
        map.apply(&update(1, true, topics)).unwrap();
        let claims = Claims {
            iss: String::new(),
            sub: String::new(),
            org: OrgId(Uuid::nil()),
            cluster: ClusterId(Uuid::nil()),
            scopes,
            iat: 0,
            exp: 0,
        };
        let id = TopicGenerationId(Uuid::from_u128(generation));
        let asked = PartitionRef { generation_id: id.to_wire(), partition };
        resolve(&map, Some(&asked), &claims)
    }

    fn code(result: Result<PartitionKey, WireError>) -> ErrorCode {
        result.unwrap_err().code
    }

    #[test]
    fn each_kind_of_generation_has_its_answer() {
        assert!(ask(3, 1, vec![]).is_ok());
        assert_eq!(code(ask(3, 2, vec![])), ErrorCode::UnknownPartition);
        assert_eq!(code(ask(9, 0, vec![])), ErrorCode::UnknownGeneration);
        assert_eq!(code(ask(4, 0, vec![])), ErrorCode::TopicDeleted);
        assert_eq!(code(ask(6, 0, vec![])), ErrorCode::TopicDeleted);
        assert_eq!(code(ask(5, 0, vec![])), ErrorCode::Forbidden);
        assert!(ask(5, 0, vec![Scope::Internal]).is_ok());
    }

    #[test]
    fn a_recreated_topic_names_the_newest_generation() {
        let error = ask(1, 0, vec![]).unwrap_err();
        assert_eq!(error.code, ErrorCode::TopicRecreated);
        let successor = TopicGenerationId(Uuid::from_u128(3));
        assert_eq!(error.wire.successor_generation_id, successor.to_wire());
    }

    #[test]
    fn a_request_without_a_generation_is_no_request() {
        let claims = Claims {
            iss: String::new(),
            sub: String::new(),
            org: OrgId(Uuid::nil()),
            cluster: ClusterId(Uuid::nil()),
            scopes: vec![],
            iat: 0,
            exp: 0,
        };
        let map = ClusterMap::default();
        let short = PartitionRef { generation_id: bytes::Bytes::from_static(b"x"), partition: 0 };
        for asked in [None, Some(&short)] {
            let error = resolve(&map, asked, &claims).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidRequest);
        }
    }
}

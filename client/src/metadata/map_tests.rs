use weir_protocol::pb::metadata as pb;

use super::*;

fn id(n: u128) -> TopicGenerationId {
    TopicGenerationId(uuid::Uuid::from_u128(n))
}

fn topic(n: u128, number: u32, name: &str, state: pb::GenerationState) -> pb::TopicGeneration {
    pb::TopicGeneration {
        generation_id: id(n).to_wire(),
        generation_number: number,
        name: name.into(),
        state: state.into(),
        internal: false,
        partitions: vec![pb::Partition { index: 0, leader_spu_id: Some(1), ..Default::default() }],
        config: None,
        min_insync_replicas: 1,
    }
}

fn spu(n: u32, state: pb::SpuState, endpoint: &str) -> pb::Spu {
    let (state, endpoint) = (state.into(), endpoint.into());
    pb::Spu { spu_id: n, state, endpoint, incarnation: 1, ..pb::Spu::default() }
}

fn update(revision: u64, snapshot: bool, topics: Vec<pb::TopicGeneration>) -> pb::MetadataUpdate {
    pb::MetadataUpdate {
        revision,
        snapshot,
        database: Some(pb::DatabaseRef { database_id: "db".into(), restore_number: 0 }),
        topics,
        spus: vec![],
        revised_at_unix_ms: 0,
    }
}

fn applied(map: &ClusterMap, update: &pb::MetadataUpdate) -> ClusterMap {
    map.apply(update).unwrap().expect("something new")
}

use pb::GenerationState::{Active, Purged, Tombstone};

#[test]
fn a_recreated_name_belongs_to_the_newest_active_generation() {
    let map = applied(&ClusterMap::default(), &update(5, true, vec![topic(1, 1, "a", Active)]));
    assert_eq!(map.active("a").unwrap().id, id(1));
    let gone = applied(&map, &update(6, false, vec![topic(1, 1, "a", Tombstone)]));
    assert_eq!(gone.active("a"), None);
    assert_eq!(gone.fate(id(1), "a"), Fate::Deleted);
    let again = applied(&gone, &update(7, false, vec![topic(2, 2, "a", Active)]));
    assert_eq!(again.active("a").unwrap().id, id(2));
    assert!(matches!(again.fate(id(1), "a"), Fate::Recreated(g) if g.id == id(2)));
    assert!(matches!(again.fate(id(2), "a"), Fate::Active(_)));
    let purged = applied(&again, &update(8, false, vec![topic(1, 1, "a", Purged)]));
    assert_eq!(purged.generation(id(1)), None);
    assert!(matches!(purged.fate(id(1), "a"), Fate::Recreated(g) if g.id == id(2)));
}

#[test]
fn of_two_active_generations_the_higher_number_counts() {
    let both = vec![topic(9, 1, "a", Active), topic(2, 2, "a", Active)];
    let map = applied(&ClusterMap::default(), &update(1, true, both));
    assert_eq!(map.active("a").unwrap().id, id(2));
}

#[test]
fn nothing_turns_the_map_back() {
    let map = applied(&ClusterMap::default(), &update(5, true, vec![topic(1, 1, "a", Active)]));
    for old in [update(5, true, vec![]), update(4, true, vec![]), update(5, false, vec![])] {
        assert_eq!(map.apply(&old), Ok(None));
    }
}

#[test]
fn another_database_comes_as_a_snapshot_or_not_at_all() {
    let map = applied(&ClusterMap::default(), &update(50, true, vec![topic(1, 1, "a", Active)]));
    let mut other = update(3, false, vec![]);
    other.database = Some(pb::DatabaseRef { database_id: "other".into(), restore_number: 0 });
    assert_eq!(map.apply(&other), Err(MapError::OtherDatabase));
    other.snapshot = true;
    assert_eq!(applied(&map, &other).active("a"), None);

    let mut restored = update(3, true, vec![]);
    restored.database = Some(pb::DatabaseRef { database_id: "db".into(), restore_number: 1 });
    let map = applied(&map, &restored);
    assert_eq!(map.revision, Revision(3));
    // An SPU that has not heard of the restore yet.
    assert_eq!(map.apply(&update(90, true, vec![])), Ok(None));
}

#[test]
fn only_an_online_spu_with_an_endpoint_is_a_live_leader() {
    let mut first = update(1, true, vec![topic(1, 1, "a", Active)]);
    first.spus = vec![spu(1, pb::SpuState::Online, "")];
    let map = applied(&ClusterMap::default(), &first);
    let partition = map.active("a").unwrap().partitions[0].clone();
    assert_eq!(map.live_leader(&partition), None);
    let mut second = update(2, false, vec![]);
    second.spus = vec![spu(1, pb::SpuState::Online, "h:1")];
    let map = applied(&map, &second);
    assert_eq!(map.live_leader(&partition).map(|(id, _, _)| id), Some(SpuId(1)));
    second.revision = 3;
    second.spus = vec![spu(1, pb::SpuState::Offline, "h:1")];
    let offline = applied(&map, &second);
    assert_eq!(offline.live_leader(&partition), None);
    assert!(offline.leader(&partition).is_some(), "it may serve all the same");
    assert_eq!(offline.endpoints(), ["h:1"]);
    second.spus = vec![spu(1, pb::SpuState::Removed, "h:1")];
    assert_eq!(applied(&map, &second).spus().count(), 0);
}

#[test]
fn a_malformed_entry_leaves_the_map_as_it_was() {
    let mut bad = topic(1, 1, "a", Active);
    bad.generation_id = bytes::Bytes::from_static(b"short");
    let error = ClusterMap::default().apply(&update(1, true, vec![bad]));
    assert_eq!(error, Err(MapError::Malformed("generation id")));
    let mut holes = topic(1, 1, "a", Active);
    holes.partitions[0].index = 3;
    let error = ClusterMap::default().apply(&update(1, true, vec![holes]));
    assert_eq!(error, Err(MapError::Malformed("partition indexes")));
}

#[test]
fn a_reader_on_a_rack_reads_from_who_is_in_sync_there() {
    let partition = |index, leader, isr: &[u32]| pb::Partition {
        index,
        leader_spu_id: Some(leader),
        leader_epoch: 4,
        isr_spu_ids: isr.to_vec(),
        ..pb::Partition::default()
    };
    let topic = pb::TopicGeneration {
        generation_id: TopicGenerationId(uuid::Uuid::from_u128(1)).to_wire(),
        name: "orders".into(),
        state: pb::GenerationState::Active.into(),
        partitions: vec![
            partition(0, 1, &[1, 2, 3]),
            partition(1, 1, &[1, 2, 3]),
            partition(2, 2, &[1, 2]),
            partition(3, 1, &[1]),
        ],
        ..pb::TopicGeneration::default()
    };
    let on = |n, rack: &str| pb::Spu {
        rack: rack.into(),
        ..spu(n, pb::SpuState::Online, &format!("spu{n}:9"))
    };
    let spus = vec![on(1, "a"), on(2, "b"), on(3, "b")];
    let update = pb::MetadataUpdate {
        revision: 1,
        snapshot: true,
        topics: vec![topic],
        spus,
        ..pb::MetadataUpdate::default()
    };
    let map = ClusterMap::default().apply(&update).unwrap().unwrap();
    let generation = map.active("orders").unwrap().clone();
    let served = |index: u32, rack| {
        let partition = generation.partition(PartitionIndex(index)).unwrap();
        map.on_rack(partition, rack).map(|(spu, ..)| spu.0)
    };
    assert_eq!([0, 1].map(|index| served(index, "b")), [Some(2), Some(3)], "in turn");
    assert_eq!(served(2, "b"), Some(2), "the leader first");
    assert_eq!(served(3, "b"), None, "nobody there is in sync");
    assert_eq!((served(0, "a"), served(0, "c")), (Some(1), None));
}

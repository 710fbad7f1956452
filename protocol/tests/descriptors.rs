//! No message of the data plane carries a topic name: data belongs to a topic *generation*,
//! and only `weir.metadata.v1` maps names to generations. Read from the compiled descriptors,
//! so that a field added anywhere in reach is seen.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};
use weir_protocol::pb::DESCRIPTORS;

const DATA: &str = "weir.data.v1";
const OFFSETS: &str = "weir.offsets.v1";
const REPLICATION: &str = "weir.replication.v1";
const PACKAGES: [&str; 5] = [DATA, "weir.metadata.v1", OFFSETS, REPLICATION, "weir.session.v1"];

/// Every rpc of the data plane: (service, rpc, request, response).
const RPCS: [[&str; 4]; 4] = [
    ["DataPlane", "AllocateProducerId", "AllocateProducerIdRequest", "AllocateProducerIdResponse"],
    ["DataPlane", "Fetch", "FetchMessage", "FetchResponse"],
    ["DataPlane", "ListOffsets", "ListOffsetsRequest", "ListOffsetsResponse"],
    ["DataPlane", "Produce", "ProduceMessage", "ProduceResponse"],
];

/// Every message of the data plane. A new one is named here, and gets its golden bytes.
const MESSAGES: [&str; 21] = [
    "AllocateProducerIdRequest",
    "AllocateProducerIdResponse",
    "Authenticate",
    "Credit",
    "Error",
    "FetchMessage",
    "FetchResponse",
    "ListOffset",
    "ListOffsetsRequest",
    "ListOffsetsResponse",
    "ListedOffset",
    "PartitionRef",
    "ProduceAck",
    "ProduceMessage",
    "ProduceRequest",
    "ProduceResponse",
    "Records",
    "Start",
    "Started",
    "Subscribe",
    "Unsubscribe",
];

/// All messages of all packages, nested ones too, by full name with the leading dot.
fn messages(set: &FileDescriptorSet) -> BTreeMap<String, &DescriptorProto> {
    fn add<'a>(
        scope: &str,
        messages: &'a [DescriptorProto],
        all: &mut BTreeMap<String, &'a DescriptorProto>,
    ) {
        for message in messages {
            let name = format!("{scope}.{}", message.name());
            add(&name, &message.nested_type, all);
            assert!(all.insert(name.clone(), message).is_none(), "{name} twice");
        }
    }
    let mut all = BTreeMap::new();
    for file in &set.file {
        add(&format!(".{}", file.package()), &file.message_type, &mut all);
    }
    all
}

/// Everything that `roots` hold, directly or through other messages, themselves included.
fn reachable(
    roots: impl IntoIterator<Item = String>,
    all: &BTreeMap<String, &DescriptorProto>,
) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<String> = roots.into_iter().collect();
    while let Some(name) = next.pop() {
        let message = all.get(&name).unwrap_or_else(|| panic!("{name} is in no known file"));
        // An enum's type name is not a message; anything else that is not known is a gap.
        let fields = message
            .field
            .iter()
            .filter(|field| field.r#type() == prost_types::field_descriptor_proto::Type::Message);
        next.extend(fields.map(|field| field.type_name().to_owned()));
        seen.insert(name);
        next.retain(|name| !seen.contains(name));
    }
    seen
}

fn names_a_topic(field: &str) -> bool {
    let field = field.to_lowercase();
    field.contains("topic") || field == "name"
}

fn offending(name: &str, all: &BTreeMap<String, &DescriptorProto>) -> Vec<String> {
    let fields = all[name].field.iter().map(|field| field.name());
    fields.filter(|f| names_a_topic(f)).map(|f| format!("{name}.{f}")).collect()
}

fn set() -> FileDescriptorSet {
    FileDescriptorSet::decode(DESCRIPTORS).expect("the descriptors of this build")
}

/// Every message in the packages of records, offsets and replication, or used by one of their rpcs.
fn roots(set: &FileDescriptorSet, all: &BTreeMap<String, &DescriptorProto>) -> BTreeSet<String> {
    let nameless = [DATA, OFFSETS, REPLICATION];
    let within = |name: &str| nameless.iter().any(|p| name.starts_with(&format!(".{p}.")));
    let in_package = all.keys().filter(|name| within(name)).cloned();
    let services =
        set.file.iter().filter(|f| nameless.contains(&f.package())).flat_map(|f| &f.service);
    let by_rpc = services
        .flat_map(|service| &service.method)
        .flat_map(|rpc| [rpc.input_type().to_owned(), rpc.output_type().to_owned()]);
    in_package.chain(by_rpc).collect()
}

#[test]
fn packages_rpcs_and_messages_are_the_known_ones() {
    let set = set();
    let packages: BTreeSet<_> = set.file.iter().map(|file| file.package()).collect();
    assert_eq!(packages, PACKAGES.into(), "a new package must say whether it is data plane");

    let data: Vec<_> = set.file.iter().filter(|file| file.package() == DATA).collect();
    let mut rpcs = BTreeSet::new();
    for service in data.iter().flat_map(|file| &file.service) {
        for rpc in &service.method {
            let short = |name: &str| {
                name.strip_prefix(&format!(".{DATA}."))
                    .expect("a message of the package")
                    .to_owned()
            };
            rpcs.insert([
                service.name().to_owned(),
                rpc.name().to_owned(),
                short(rpc.input_type()),
                short(rpc.output_type()),
            ]);
        }
    }
    let known = RPCS.map(|rpc| rpc.map(str::to_owned));
    assert_eq!(rpcs, known.into());

    let all = messages(&set);
    let names: Vec<_> =
        all.keys().filter_map(|name| name.strip_prefix(&format!(".{DATA}."))).collect();
    assert_eq!(names, MESSAGES);
}

#[test]
fn no_data_plane_message_names_a_topic() {
    let set = set();
    let all = messages(&set);
    let reached = reachable(roots(&set, &all), &all);
    for known in ["PartitionRef", "ProduceRequest", "Records", "Error"] {
        assert!(reached.contains(&format!(".{DATA}.{known}")), "{known} was not looked at");
    }
    assert!(reached.contains(".weir.offsets.v1.OffsetKey"), "the offsets were not looked at");
    let offending: Vec<_> = reached.iter().flat_map(|name| offending(name, &all)).collect();
    assert_eq!(offending, Vec::<String>::new());
}

/// The metadata does name topics: so the search finds what it looks for, at any depth.
#[test]
fn the_search_finds_a_topic_name_where_there_is_one() {
    let set = set();
    let all = messages(&set);
    let update = ".weir.metadata.v1.MetadataUpdate".to_owned();
    let reached = reachable([update], &all);
    let found: Vec<_> = reached.iter().flat_map(|name| offending(name, &all)).collect();
    assert!(found.contains(&".weir.metadata.v1.MetadataUpdate.topics".to_owned()), "{found:?}");
    assert!(found.contains(&".weir.metadata.v1.TopicGeneration.name".to_owned()), "{found:?}");
}

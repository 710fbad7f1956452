use uuid::Uuid;
use weir_protocol::pb::data::PartitionRef;

use super::*;

fn good() -> Register {
    Register {
        org_id: OrgId(Uuid::from_u128(1)).to_string(),
        cluster_id: ClusterId(Uuid::from_u128(2)).to_string(),
        spu_id: 1,
        launch_id: Uuid::from_u128(3).to_string(),
        folder_id: Uuid::from_u128(4).to_string(),
        process_id: Uuid::from_u128(5).to_string(),
        endpoint: "127.0.0.1:9600".to_owned(),
        protocol_version: 1,
        ..Register::default()
    }
}

#[test]
fn whatever_has_no_form_is_refused() {
    assert!(parse(good()).is_ok());
    type Change = fn(&mut Register);
    let changes: [(&str, Change); 10] = [
        ("org", |r| r.org_id = "cl_1".to_owned()),
        ("cluster", |r| r.cluster_id.clear()),
        ("launch", |r| r.launch_id = "1".to_owned()),
        ("folder", |r| r.folder_id.clear()),
        ("process", |r| r.process_id.clear()),
        ("endpoint", |r| r.endpoint = "localhost".to_owned()),
        ("endpoint without host", |r| r.endpoint = ":1".to_owned()),
        ("endpoint that no text can be", |r| r.endpoint = "a\0b:1".to_owned()),
        ("endless endpoint", |r| r.endpoint = format!("{}:1", "x".repeat(300))),
        ("replica", |r| {
            r.replicas = vec![ReplicaStatus {
                partition: Some(PartitionRef { generation_id: "short".into(), partition: 0 }),
                ..ReplicaStatus::default()
            }];
        }),
    ];
    for (name, change) in changes {
        let mut message = good();
        change(&mut message);
        let error = parse(message).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest, "{name}");
    }
}

#[test]
fn a_fresh_folder_names_no_database() {
    let mut message = good();
    message.database = Some(weir_protocol::pb::metadata::DatabaseRef::default());
    assert_eq!(parse(message).unwrap().asked.database, None);
}

//! Administration against a scripted control plane: what is sent, and what is sent again.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use secrecy::{ExposeSecret, SecretString};
use weir_client::{
    Admin, AdminConfig,
    admin::{
        ClusterSpec, ClusterState, ConsumerResetRequest, FlushMode, ResetTo, TopicConfigChange,
        TopicCreate, TopicState,
    },
    retry::BackoffConfig,
};
use weir_protocol::ids::{Offset, PartitionIndex};
use weir_runtime::{
    clock::Clock,
    http::{HttpError, HttpTransport},
};

type Answer = Result<(u16, String), HttpError>;

#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<Request<Bytes>>>,
}

#[async_trait::async_trait]
impl HttpTransport for Script {
    async fn send(
        &self,
        request: Request<Bytes>,
        _: Duration,
    ) -> Result<Response<Bytes>, HttpError> {
        self.requests.lock().unwrap().push(request);
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or_else(|| Err(broken()));
        let (status, body) = answer?;
        Ok(Response::builder().status(status).body(Bytes::from(body)).unwrap())
    }
}

fn broken() -> HttpError {
    HttpError::Broken { authority: "a".into(), reason: "scripted".into() }
}

fn unreachable() -> HttpError {
    HttpError::Unreachable { authority: "a".into(), reason: "scripted".into() }
}

fn admin(answers: impl IntoIterator<Item = Answer>) -> (Admin, Arc<Script>) {
    let script = Arc::new(Script::default());
    script.answers.lock().unwrap().extend(answers);
    let key = SecretString::from("weir_local_k_s_c".to_owned());
    let mut config = AdminConfig::new("http://cp:1/", key);
    config.backoff =
        BackoffConfig { first: Duration::from_millis(1), max: Duration::from_millis(2) };
    config.deadline = Duration::from_millis(50);
    (Admin::new(config, script.clone(), Clock), script)
}

fn topic(n: u32) -> String {
    format!(
        r#"{{"generation_id":"tg_0000000000000000000000000000000{n}","generation_number":{n},
            "name":"t{n}","state":"active","a_new_field":1,"partitions":[{{"index":0}}]}}"#
    )
}

fn problem(status: u16, code: &str, retryable: bool) -> Answer {
    Ok((status, format!(r#"{{"code":"{code}","retryable":{retryable},"detail":"d"}}"#)))
}

#[tokio::test]
async fn a_post_is_repeated_under_one_idempotency_key() {
    let (admin, script) = admin([
        Err(unreachable()),
        Err(broken()),
        problem(503, "NOT_READY", true),
        Ok((201, topic(1))),
    ]);
    let wanted = TopicCreate::new("t1", 1);
    let created = admin.topic_create("c/d", &wanted).await.unwrap();
    assert_eq!(created.name, "t1");
    let requests = script.requests.lock().unwrap();
    assert_eq!(requests.len(), 4);
    let keys: Vec<_> = requests.iter().map(|r| r.headers()["idempotency-key"].clone()).collect();
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(requests[0].uri(), "http://cp:1/v1/clusters/c%2Fd/topics");
    assert_eq!(requests[0].headers()["authorization"], "Bearer weir_local_k_s_c");
}

#[tokio::test]
async fn what_may_have_been_carried_out_is_repeated_only_where_that_is_safe() {
    let (a, script) = admin([Err(broken())]);
    let error = a.cluster_create("c", &ClusterSpec::default()).await.unwrap_err();
    assert!(error.outcome_unknown());
    let (b, by_name) = admin([Err(broken())]);
    assert!(b.topic_delete("c", "t").await.unwrap_err().outcome_unknown());
    let (c, by_id) = admin([Err(broken()), Ok((200, topic(1)))]);
    c.topic_delete("c", "tg_00000000000000000000000000000001").await.unwrap();
    let count = |script: &Script| script.requests.lock().unwrap().len();
    assert_eq!([count(&script), count(&by_name), count(&by_id)], [1, 1, 2]);
    let requests = script.requests.lock().unwrap();
    assert_eq!(requests[0].method(), Method::PUT);
    assert_eq!(requests[0].headers()["if-none-match"], "*");
}

#[tokio::test]
async fn an_unknown_outcome_is_not_forgotten_when_the_server_goes_away() {
    let away = std::iter::repeat_with(|| Err(unreachable())).take(1000);
    let (admin, _) = admin(std::iter::once(Err(broken())).chain(away));
    let wanted = TopicCreate::new("t1", 1);
    assert!(admin.topic_create("c", &wanted).await.unwrap_err().outcome_unknown());
}

#[tokio::test]
async fn a_problem_that_is_final_is_told_at_once() {
    let (admin, script) = admin([problem(412, "CLUSTER_EXISTS", false)]);
    let error = admin.cluster_create("c", &ClusterSpec::default()).await.unwrap_err();
    assert_eq!((error.code(), error.status()), ("CLUSTER_EXISTS", Some(412)));
    assert_eq!(script.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_list_follows_its_cursor_to_the_end() {
    let page = |topics: &[u32], cursor: &str| {
        let items: Vec<_> = topics.iter().map(|n| topic(*n)).collect();
        Ok((200, format!(r#"{{"items":[{}],"next_cursor":{cursor}}}"#, items.join(","))))
    };
    let (admin, script) =
        admin([page(&[1, 2], r#""a&b""#), page(&[], r#""c""#), page(&[3], "null")]);
    let names: Vec<_> =
        admin.topic_list("c").await.unwrap().into_iter().map(|topic| topic.name).collect();
    assert_eq!(names, ["t1", "t2", "t3"]);
    let requests = script.requests.lock().unwrap();
    assert_eq!(requests[1].uri().query(), Some("limit=100&cursor=a%26b"));
}

#[tokio::test]
async fn states_of_a_newer_server_are_unknown_and_tokens_stay_secret() {
    let cluster = r#"{"id":"cl_00000000000000000000000000000001",
        "org_id":"org_00000000000000000000000000000001","name":"c","desired":"running",
        "state":"levitating","reason":null,"spec":{"spus":3,"port_base":null,"data_dir":null}}"#;
    let token = r#"{"token":"very.secret","expires_at_unix_ms":5,
        "cluster_id":"cl_00000000000000000000000000000001","endpoints":["h:1"]}"#;
    let (admin, script) = admin([Ok((200, cluster.into())), Ok((200, token.into()))]);
    let cluster = admin.cluster("c").await.unwrap();
    assert_eq!((cluster.state, cluster.spec.spus), (ClusterState::Unknown, 3));
    let grant = admin.token("c", None).await.unwrap();
    assert!(!format!("{grant:?}").contains("secret.") && !format!("{grant:?}").contains("very"));
    assert_eq!(grant.token.expose_secret(), "very.secret");
    let requests = script.requests.lock().unwrap();
    assert_eq!(requests[1].uri().path(), "/v1/clusters/c:token");
    assert_eq!(requests[1].body(), "{}");
}

const GENERATION: &str = "tg_00000000000000000000000000000001";

#[tokio::test]
async fn consumers_are_listed_and_shown_with_what_is_not_known_left_out() {
    let list = format!(
        r#"{{"items":[{{"name":"billing","topics":[{{"name":"t","generation_id":"{GENERATION}",
            "generation_number":2}}],"partitions":3,"lag":null,"a_new_field":1}}]}}"#
    );
    let one = format!(
        r#"{{"name":"billing","lag":4,"committed_at_unix_ms":9,"partitions":[
            {{"topic":"t","generation_id":"{GENERATION}","generation_number":2,
              "generation_state":"active","partition":1,"committed":6,"log_start":0,"end":10,
              "lag":4,"leader_epoch":1,"metadata":"m","committed_at_unix_ms":9}},
            {{"topic":"t","generation_id":"{GENERATION}","generation_number":1,
              "generation_state":"composted","partition":0}}]}}"#
    );
    let (admin, script) = admin([Ok((200, list)), Ok((200, one))]);
    let listed = admin.consumer_list("c").await.unwrap();
    assert_eq!((listed[0].partitions, listed[0].lag), (3, None));
    assert_eq!(listed[0].topics[0].generation_number.get(), 2);
    let shown = admin.consumer("c", "bil/ling").await.unwrap();
    assert_eq!(shown.partitions[0].committed.map(|offset| offset.get()), Some(6));
    assert_eq!(shown.partitions[1].committed, None);
    assert_eq!(shown.partitions[1].generation_state, TopicState::Unknown);
    let requests = script.requests.lock().unwrap();
    assert_eq!(requests[0].uri().path(), "/v1/clusters/c/consumers");
    assert_eq!(requests[1].uri().path(), "/v1/clusters/c/consumers/bil%2Fling");
}

#[tokio::test]
async fn a_reset_is_one_request_however_often_it_is_sent() {
    let answer = format!(
        r#"{{"consumer":"billing","topic":"t","generation_id":"{GENERATION}",
            "generation_number":1,"dry_run":false,
            "partitions":[{{"partition":0,"old":null,"new":3,"log_start":0,"end":8}}]}}"#
    );
    let (a, script) = admin([
        Err(broken()),
        problem(503, "COORDINATOR_UNAVAILABLE", true),
        Ok((200, answer.clone())),
    ]);
    let wanted = |to| ConsumerResetRequest {
        topic: "t".into(),
        partitions: Some(vec![PartitionIndex(0)]),
        to,
        dry_run: false,
    };
    let done = a.consumer_reset("c", "billing", &wanted(ResetTo::FromEnd(5))).await.unwrap();
    assert_eq!((done.partitions[0].old, done.partitions[0].new), (None, Offset(3)));
    {
        let requests = script.requests.lock().unwrap();
        let keys: Vec<_> =
            requests.iter().map(|r| r.headers()["idempotency-key"].clone()).collect();
        assert!(keys.len() == 3 && keys.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(requests[0].uri().path(), "/v1/clusters/c/consumers/billing:reset");
    }
    let places = [
        (ResetTo::FromEnd(5), r#"{"from_end":5}"#),
        (ResetTo::FromBeginning(2), r#"{"from_beginning":2}"#),
        (ResetTo::Offset(Offset(7)), r#"{"offset":7}"#),
        (ResetTo::Beginning, r#"{"beginning":true}"#),
        (ResetTo::End, r#"{"end":true}"#),
        (ResetTo::Timestamp(-9), r#"{"timestamp_ms":-9}"#),
    ];
    for (to, text) in places {
        let (admin, script) = admin([Ok((200, answer.clone()))]);
        admin.consumer_reset("c", "billing", &wanted(to)).await.unwrap();
        let body = String::from_utf8(script.requests.lock().unwrap()[0].body().to_vec()).unwrap();
        let expected = format!(r#"{{"topic":"t","partitions":[0],"to":{text},"dry_run":false}}"#);
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn a_consumer_s_deletion_is_not_repeated_blindly() {
    let (a, script) = admin([Err(broken())]);
    assert!(a.consumer_delete("c", "billing").await.unwrap_err().outcome_unknown());
    assert_eq!(script.requests.lock().unwrap().len(), 1);
    // Where it is known that nothing was done, or doing it again is safe, it is.
    let done = Ok((200, r#"{"name":"billing","partitions":2}"#.to_owned()));
    let (b, _) = admin([Err(unreachable()), problem(503, "COORDINATOR_UNAVAILABLE", true), done]);
    assert_eq!(b.consumer_delete("c", "billing").await.unwrap().partitions, 2);
}

#[tokio::test]
async fn deleted_topics_are_asked_for_by_their_own_paths() {
    let id = "tg_00000000000000000000000000000001";
    let page = format!(r#"{{"items":[{}],"next_cursor":null}}"#, topic(1));
    let purging = topic(1).replace("active", "purging");
    let (admin, script) = admin([
        Ok((200, page)),
        Err(broken()),
        Ok((200, topic(1))),
        Ok((202, purging.clone())),
        Err(broken()),
        Ok((202, purging)),
    ]);
    assert_eq!(admin.topic_list_deleted("c").await.unwrap().len(), 1);
    admin.topic_undelete("c", "t1").await.unwrap();
    let purging = admin.topic_purge("c", id).await.unwrap();
    assert_eq!(purging.state, TopicState::Purging);
    admin.topic_delete_and_purge("c", id).await.unwrap();
    let requests = script.requests.lock().unwrap();
    let lines: Vec<_> = requests.iter().map(|r| format!("{} {}", r.method(), r.uri())).collect();
    let at = "http://cp:1/v1/clusters/c/topics";
    let delete = format!("DELETE {at}/{id}?purge=true");
    let expected = [
        format!("GET {at}?deleted=true&limit=100"),
        format!("POST {at}/t1:undelete"),
        format!("POST {at}/t1:undelete"),
        format!("POST {at}/{id}:purge"),
        delete.clone(),
        delete,
    ];
    assert_eq!(lines, expected);
    let key = |n: usize| requests[n].headers()["idempotency-key"].clone();
    assert_eq!(key(1), key(2), "a repetition is recognised");
}

#[tokio::test]
async fn how_a_topic_is_kept_is_sent_as_it_is_said() {
    let config = r#""config":{"flush":"interval","flush_interval_ms":9,"retention_ms":null,
        "retention_bytes":7,"segment_bytes":8,"segment_ms":null},"state""#;
    let kept = topic(1).replacen(r#""state""#, config, 1);
    let (admin, script) = admin([
        Ok((201, topic(1))),
        Ok((201, kept.clone())),
        Err(broken()),
        Ok((200, kept.clone())),
    ]);
    let plain = admin.topic_create("c", &TopicCreate::new("t1", 1)).await.unwrap();
    assert_eq!(plain.config, None, "an older control plane does not say");
    let change = TopicConfigChange {
        flush: Some(FlushMode::Interval),
        flush_interval_ms: Some(9),
        retention_ms: Some(None),
        ..TopicConfigChange::default()
    };
    let wanted = TopicCreate { config: change, ..TopicCreate::new("t1", 1) };
    let made = admin.topic_create("c", &wanted).await.unwrap().config.unwrap();
    assert_eq!((made.flush, made.flush_interval_ms), (FlushMode::Interval, Some(9)));
    assert_eq!((made.retention_ms, made.retention_bytes), (None, Some(7)));
    admin.topic_update("c", "t/1", &change.into()).await.unwrap();
    let requests = script.requests.lock().unwrap();
    let body = |n: usize| String::from_utf8(requests[n].body().to_vec()).unwrap();
    let sent = r#"{"flush":"interval","flush_interval_ms":9,"retention_ms":null}"#;
    assert_eq!(body(0), r#"{"name":"t1","partitions":1,"replication":1}"#);
    assert_eq!(
        body(1),
        format!(r#"{{"name":"t1","partitions":1,"replication":1,"config":{sent}}}"#)
    );
    assert_eq!(body(2), format!(r#"{{"config":{sent}}}"#));
    assert_eq!(
        (requests[2].method(), requests[2].uri().path()),
        (&Method::PATCH, "/v1/clusters/c/topics/t%2F1")
    );
    let key = |n: usize| requests[n].headers()["idempotency-key"].clone();
    assert_eq!((key(2), body(2)), (key(3), body(3)), "a repetition is recognised");
}

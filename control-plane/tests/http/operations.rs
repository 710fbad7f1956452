//! Orders are answered with an operation that can be followed; scaling is one of them.

use serde_json::{Value, json};

use crate::{
    client::{Answer, Call, call},
    support::{Fixture, fixture},
};

fn scale(f: &Fixture, body: &Value) -> Call {
    call("POST", "/v1/clusters/demo:scale").key(&f.admin_key).json(body)
}

async fn get(f: &Fixture, path: &str) -> Answer {
    call("GET", path).key(&f.admin_key).send(&f.router()).await
}

async fn topic(f: &Fixture, name: &str, partitions: u32) {
    let body = json!({ "name": name, "partitions": partitions });
    let create = call("POST", "/v1/clusters/demo/topics").key(&f.admin_key).json(&body);
    create.send(&f.router()).await.ok(201);
}

#[tokio::test]
async fn every_order_has_an_operation_and_a_newer_one_supersedes_it() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 2).await;
    let order = async |method: &str, path: &str| {
        let answer = call(method, path).key(&f.admin_key).send(&router).await;
        let view = answer.ok(202);
        let location = format!("/v1/operations/{}", view["operation_id"].as_str().unwrap());
        assert_eq!(answer.header("location"), location);
        location
    };
    let shutdown = order("POST", "/v1/clusters/demo:shutdown").await;
    // What changes nothing begins nothing.
    assert_eq!(order("POST", "/v1/clusters/demo:shutdown").await, shutdown);
    let resume = order("POST", "/v1/clusters/demo:resume").await;
    let delete = order("DELETE", "/v1/clusters/demo").await;
    assert_eq!(get(&f, &shutdown).await.ok(200)["state"], "superseded");
    assert!(get(&f, &resume).await.ok(200)["ended_at_unix_ms"].is_i64());
    let shown = get(&f, &delete).await.ok(200);
    assert_eq!((&shown["state"], &shown["kind"]), (&json!("running"), &json!("delete")));
    assert_eq!(shown["progress"], json!({ "done": 0, "total": 4 }));
    assert_eq!(
        shown["steps"][0],
        json!({ "name": "stop SPUs", "state": "running", "detail": "0 of 2" })
    );
    assert_eq!(shown["actor"], f.admin.key_id.to_string());
    assert_eq!((&shown["error"], &shown["cluster_name"]), (&json!(null), &json!("demo")));

    // Newest first, page by page.
    for path in ["/v1/clusters/demo/operations", "/v1/operations"] {
        let (mut kinds, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = get(&f, &format!("{path}?limit=3{cursor}")).await.ok(200);
            kinds.extend(page["items"].as_array().unwrap().iter().map(|o| o["kind"].clone()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(kinds, ["delete", "resume", "shutdown", "create"]);
    }
    for missing in ["op_0192f0c17a6e7c0e8a1b5d2f3c4e5a6b", "demo"] {
        get(&f, &format!("/v1/operations/{missing}")).await.problem(404, "OPERATION_NOT_FOUND");
    }
}

#[tokio::test]
async fn scaling_says_what_it_does_and_does_it_once() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 2).await;
    let up = json!({ "spus": 4, "dry_run": true });
    let preview = scale(&f, &up).send(&router).await.ok(200);
    let expected = json!({ "from": 2, "to": 4, "add": 2, "remove": [], "keep": [], "moves": [] });
    assert_eq!(preview, expected);
    assert_eq!(get(&f, "/v1/clusters/demo").await.ok(200)["spec"]["spus"], 2);

    let order = || scale(&f, &json!({ "spus": 4 })).header("idempotency-key", "one");
    let first = order().send(&router).await;
    let again = order().send(&router).await;
    assert_eq!(again.ok(202), first.ok(202));
    assert_eq!(again.header("location"), first.header("location"));
    assert!(again.header("location").starts_with("/v1/operations/op_"));
    let cluster = get(&f, "/v1/clusters/demo").await.ok(200);
    assert_eq!(
        (&cluster["spec"]["spus"], cluster["spus"].as_array().unwrap().len()),
        (&json!(4), 4)
    );
    let operation = get(&f, first.header("location")).await.ok(200);
    let target = json!({ "from": 2, "to": 4, "add": [3, 4], "remove": [], "keep": [], "moves": 0 });
    assert_eq!(operation["target"], target);

    // Empty SPUs go, and count no more at once.
    let down = scale(&f, &json!({ "spus": 1 })).send(&router).await.ok(202);
    assert_eq!((&down["spec"]["spus"], &down["spus_ready"]), (&json!(1), &json!(0)));
    let leaving: Vec<_> =
        down["spus"].as_array().unwrap().iter().map(|spu| spu["leaving"].clone()).collect();
    assert_eq!(leaving, [false, true, true, true]);
    // Nothing is placed on what leaves.
    topic(&f, "late", 3).await;
    let late = get(&f, "/v1/clusters/demo/topics/late").await.ok(200);
    for partition in late["partitions"].as_array().unwrap() {
        assert_eq!(partition["replica_spu_ids"], json!([1]));
    }
}

#[tokio::test]
async fn a_scale_that_would_lose_data_is_refused_by_name() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 3).await;
    topic(&f, "orders", 5).await;
    topic(&f, "old", 3).await;
    call("DELETE", "/v1/clusters/demo/topics/old").key(&f.admin_key).send(&router).await.ok(200);
    let before = get(&f, "/v1/clusters/demo").await.ok(200);
    for dry_run in [true, false] {
        let body = json!({ "spus": 2, "dry_run": dry_run });
        let refused = scale(&f, &body).send(&router).await.problem(409, "SCALE_REFUSED");
        let detail = refused["detail"].as_str().unwrap();
        // What is used can be moved, and what was deleted cannot.
        for spu in 1..=3 {
            assert!(
                detail.contains(&format!("SPU {spu} holds old (deleted, not purged)")),
                "{detail}"
            );
        }
        assert!(!detail.contains("orders"), "{detail}");
        assert!(refused["hint"].as_str().unwrap().contains("purge"), "{refused}");
        let blocking = refused["blocking"].as_array().unwrap();
        assert_eq!(blocking.len(), 3);
        assert_eq!(blocking[2]["topics"][0]["deleted"], true);
    }
    assert_eq!(get(&f, "/v1/clusters/demo").await.ok(200), before, "something changed");
}

#[tokio::test]
async fn a_scale_says_what_it_would_move_and_moves_that() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 3).await;
    topic(&f, "orders", 6).await;
    let asked = async |spus: u32, dry_run: bool| {
        scale(&f, &json!({ "spus": spus, "dry_run": dry_run })).send(&router).await
    };
    let would = asked(2, true).await.ok(200);
    assert_eq!(would["remove"], json!([3]));
    let moves = would["moves"].as_array().unwrap();
    let from: Vec<_> =
        moves.iter().map(|moved| (&moved["partition"], &moved["from_spu_ids"])).collect();
    assert_eq!(from, [(&json!(2), &json!([3])), (&json!(5), &json!([3]))]);
    assert_eq!(get(&f, "/v1/clusters/demo").await.ok(200)["spec"]["spus"], 3, "only asked");
    asked(2, false).await.ok(202);
    let reassigning = async || {
        let list = get(&f, "/v1/clusters/demo/reassignments").await.ok(200);
        list["items"].as_array().unwrap().clone()
    };
    let ordered = reassigning().await;
    assert_eq!(ordered.len(), moves.len());
    for (ordered, moved) in ordered.iter().zip(moves) {
        assert_eq!(ordered["partition"], moved["partition"]);
        assert_eq!(ordered["reassignment"]["target_spu_ids"], moved["to_spu_ids"]);
    }
    // Ordered again it is the same order; with as many as before it is taken back.
    let again = asked(2, true).await.ok(200);
    assert_eq!((&again["remove"], &again["moves"]), (&json!([]), &json!([])));
    let back = asked(3, true).await.ok(200);
    assert_eq!((&back["keep"], &back["add"]), (&json!([3]), &json!(0)));
    let back = asked(3, false).await.ok(202);
    assert!(back["spus"].as_array().unwrap().iter().all(|spu| spu["leaving"] == json!(false)));
    assert!(reassigning().await.is_empty());

    // Who is new takes its share; and gives it back where it is not wanted after all.
    let more = asked(4, true).await.ok(200);
    let taken = more["moves"].as_array().unwrap();
    assert_eq!((taken.len(), &taken[0]["to_spu_ids"]), (1, &json!([4])));
    asked(4, false).await.ok(202);
    assert_eq!(reassigning().await.len(), 1);
    let fewer = asked(3, false).await.ok(202);
    assert_eq!(fewer["spus"][3]["leaving"], json!(true));
    assert!(reassigning().await.is_empty());
    // Nothing is started anew while one is on its way out.
    let restart = async |body: serde_json::Value| {
        let call = call("POST", "/v1/clusters/demo:restart").key(&f.admin_key).json(&body);
        call.send(&router).await
    };
    let refused = restart(json!({})).await.problem(400, "INVALID_REQUEST");
    assert!(refused["detail"].as_str().unwrap().contains("SPU 4"), "{refused}");
    restart(json!({ "spu_ids": [] })).await.problem(400, "INVALID_REQUEST");
    restart(json!({ "spu_ids": [9] })).await.problem(400, "INVALID_REQUEST");
    asked(4, false).await.ok(202);
    asked(3, false).await.ok(202);
    // A copy on each of three does not fit on two.
    let copies = json!({ "name": "copies", "partitions": 1, "replication": 3 });
    let create = call("POST", "/v1/clusters/demo/topics").key(&f.admin_key).json(&copies);
    create.send(&router).await.ok(201);
    let refused = asked(2, false).await.problem(409, "SCALE_REFUSED");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("SPU 3 holds copies (partition 0)"), "{detail}");
    assert!(refused["hint"].as_str().unwrap().contains("topic update copies --replication"));
    assert!(reassigning().await.is_empty());
}

#[tokio::test]
async fn a_scale_needs_a_running_cluster_and_a_possible_number() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 1).await;
    for body in [json!({ "spus": 0 }), json!({ "spus": 11 }), json!({}), json!({ "spu": 1 })] {
        scale(&f, &body).send(&router).await.problem(400, "INVALID_REQUEST");
    }
    call("POST", "/v1/clusters/demo:shutdown").key(&f.admin_key).send(&router).await.ok(202);
    let shut = scale(&f, &json!({ "spus": 2 })).send(&router).await;
    let shut = shut.problem(409, "CLUSTER_SHUT_DOWN");
    assert!(shut["hint"].as_str().unwrap().contains("weir cluster resume"), "{shut}");
    call("DELETE", "/v1/clusters/demo").key(&f.admin_key).send(&router).await.ok(202);
    scale(&f, &json!({ "spus": 2 })).send(&router).await.problem(409, "CLUSTER_DELETING");
}

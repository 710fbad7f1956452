//! Walks over every operation of the OpenAPI document. One that this file does not know
//! fails, so that a new route cannot be forgotten.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weir_control_plane::http::{document, routes::verbs};

use crate::{client::Call, client::call, support::fixture};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "patch", "head", "options", "trace"];

/// What needs no key.
const OPEN: [&str; 4] = ["GET /docs", "GET /live", "GET /ready", "GET /v1/openapi.json"];

/// Of nobody.
const NO_OPERATION: &str = "op_0192f0c17a6e7c0e8a1b5d2f3c4e5a6b";

/// Every operation as `METHOD path`.
fn operations() -> Vec<(String, String)> {
    let document = serde_json::to_value(document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let mut found = Vec::new();
    for (path, item) in paths {
        for method in METHODS.iter().filter(|method| item.get(**method).is_some()) {
            found.push((method.to_uppercase(), path.clone()));
        }
    }
    assert!(found.len() >= 17, "{found:?}");
    found
}

/// A body that the operation takes.
fn body(operation: &str) -> Option<Value> {
    match operation {
        "POST /v1/clusters/{cluster}:scale" => Some(json!({ "spus": 2 })),
        "POST /v1/clusters/{cluster}:restart" => Some(json!({ "spu_ids": [1] })),
        "POST /v1/clusters/{cluster}:recover" => Some(json!({ "dry_run": true })),
        "PUT /v1/clusters/{cluster}" => Some(json!({ "spus": 1 })),
        "POST /v1/clusters/{cluster}/topics" => Some(json!({ "name": "new", "partitions": 1 })),
        "PATCH /v1/clusters/{cluster}/topics/{topic}" => {
            Some(json!({ "config": { "retention_ms": 60_000 } }))
        }
        "POST /v1/clusters/{cluster}/topics/{topic}:add-partitions" => Some(json!({ "add": 1 })),
        "POST /v1/clusters/{cluster}:drain" => Some(json!({ "spu_id": 1 })),
        "POST /v1/clusters/{cluster}/topics/{topic}/partitions/{partition}:reassign" => {
            Some(json!({ "replicas": [1] }))
        }
        "POST /v1/clusters/{cluster}/consumers/{consumer}:reset" => {
            Some(json!({ "topic": "orders", "to": { "beginning": true } }))
        }
        "GET /docs"
        | "GET /live"
        | "GET /ready"
        | "GET /v1/openapi.json"
        | "GET /v1/whoami"
        | "GET /v1/version"
        | "GET /v1/clusters"
        | "GET /v1/clusters/{cluster}"
        | "DELETE /v1/clusters/{cluster}"
        | "POST /v1/clusters/{cluster}:shutdown"
        | "POST /v1/clusters/{cluster}:resume"
        | "POST /v1/clusters/{cluster}:token"
        | "GET /v1/clusters/{cluster}/spus"
        | "POST /v1/clusters/{cluster}/spus"
        | "DELETE /v1/clusters/{cluster}/spus/{spu}"
        | "GET /v1/clusters/{cluster}/refusals"
        | "GET /v1/clusters/{cluster}/operations"
        | "GET /v1/operations"
        | "GET /v1/operations/{operation}"
        | "GET /v1/clusters/{cluster}/topics"
        | "GET /v1/clusters/{cluster}/topics/{topic}"
        | "DELETE /v1/clusters/{cluster}/topics/{topic}"
        | "POST /v1/clusters/{cluster}/topics/{topic}:undelete"
        | "POST /v1/clusters/{cluster}/topics/{topic}:purge"
        | "GET /v1/clusters/{cluster}/reassignments"
        | "GET /v1/clusters/{cluster}/consumers"
        | "GET /v1/clusters/{cluster}/consumers/{consumer}"
        | "DELETE /v1/clusters/{cluster}/consumers/{consumer}" => None,
        unknown => panic!("tell this test what {unknown} takes"),
    }
}

fn build(method: &str, path: &str, cluster: &str, topic: &str) -> Call {
    let place = path.replace("{cluster}", cluster).replace("{topic}", topic);
    let place =
        place.replace("{consumer}", "billing").replace("{partition}", "0").replace("{spu}", "1");
    let call = call(method, &place.replace("{operation}", NO_OPERATION));
    match body(&format!("{method} {path}")) {
        Some(body) => call.json(&body),
        None => call,
    }
}

#[tokio::test]
async fn nothing_answers_without_a_key() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 1).await;
    let mut open = BTreeSet::new();
    for (method, path) in operations() {
        let answer = build(&method, &path, "demo", "orders").send(&router).await;
        let operation = format!("{method} {path}");
        if OPEN.contains(&operation.as_str()) {
            assert_eq!(answer.status, 200, "{operation}");
            open.insert(operation);
        } else {
            answer.problem(401, "UNAUTHENTICATED");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
    assert_eq!(open.len(), OPEN.len());
}

#[tokio::test]
async fn another_org_s_key_finds_nothing() {
    let f = fixture().await;
    let router = f.router();
    let view = f.cluster("demo", 1).await;
    let cluster = view.id.to_string();
    let operation = format!("/v1/operations/{}", view.operation_id.unwrap());
    call("GET", &operation).key(&f.admin_key).send(&router).await.ok(200);
    let foreign = call("GET", &operation).key(&f.other_key).send(&router).await;
    foreign.problem(404, "OPERATION_NOT_FOUND");
    // Before they have any of their own.
    let none = call("GET", "/v1/operations").key(&f.other_key).send(&router).await;
    assert_eq!(none.ok(200)["items"], json!([]));
    let made = build("POST", "/v1/clusters/{cluster}/topics", "demo", "").key(&f.admin_key);
    let topic = made.send(&router).await.ok(201)["generation_id"].as_str().unwrap().to_owned();
    for (cluster, topic) in
        [("demo", "new"), ("demo", topic.as_str()), (&*cluster, "new"), (&*cluster, &*topic)]
    {
        for (method, path) in operations() {
            let operation = format!("{method} {path}");
            if OPEN.contains(&operation.as_str()) {
                continue;
            }
            let answer =
                build(&method, &path, cluster, topic).key(&f.other_key).send(&router).await;
            match operation.as_str() {
                // A name of their own; an id is no name.
                "PUT /v1/clusters/{cluster}" => {
                    if cluster == "demo" {
                        answer.ok(201);
                        let own = f.other.org;
                        let mut tx = f.app.store.write().await.unwrap();
                        let mut scoped = tx.scoped(own);
                        let id = weir_control_plane::store::clusters::by_name(&mut scoped, "demo")
                            .await
                            .unwrap()
                            .unwrap()
                            .id;
                        weir_control_plane::store::clusters::remove(&mut scoped, id).await.unwrap();
                        tx.commit().await.unwrap();
                    } else {
                        answer.problem(400, "INVALID_REQUEST");
                    }
                }
                "GET /v1/clusters" => assert_eq!(answer.ok(200)["items"], json!([])),
                "GET /v1/operations" => {
                    let own = answer.ok(200);
                    for operation in own["items"].as_array().unwrap() {
                        assert_ne!(operation["cluster_id"], view.id.to_string());
                    }
                }
                "GET /v1/operations/{operation}" => {
                    answer.problem(404, "OPERATION_NOT_FOUND");
                }
                // Of no tenant.
                "GET /v1/version" => assert_eq!(answer.ok(200)["version"], "0.1.0"),
                "GET /v1/whoami" => {
                    assert_eq!(answer.ok(200)["org_id"], f.other.org.to_string());
                }
                _ => {
                    answer.problem(404, "CLUSTER_NOT_FOUND");
                }
            }
        }
    }
    // And nothing of it happened.
    let shown = build("GET", "/v1/clusters/{cluster}", "demo", "").key(&f.admin_key);
    assert_eq!(shown.send(&router).await.ok(200)["desired"], "running");
    let shown = build("GET", "/v1/clusters/{cluster}/topics/{topic}", "demo", "new");
    let shown = shown.key(&f.admin_key).send(&router).await.ok(200);
    assert_eq!(shown["partitions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_document_and_the_router_are_in_step() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 1).await;
    let mut documented: [BTreeSet<String>; 4] = Default::default();
    for (method, path) in operations() {
        let answer = build(&method, &path, "demo", "no-such-topic").key(&f.admin_key);
        let answer = answer.send(&router).await;
        // Whatever it says, it is not that there is no such route.
        assert!(!answer.text.contains("ROUTE_NOT_FOUND"), "{method} {path}: {}", answer.text);
        assert_ne!(answer.status, 405, "{method} {path}");
        assert!(answer.status.as_u16() < 500, "{method} {path}: {}", answer.text);
        if let Some((before, verb)) = path.rsplit_once(':') {
            let nouns = ["{cluster}", "{topic}", "{partition}", "{consumer}"];
            let noun = nouns.iter().position(|noun| before.ends_with(noun)).unwrap();
            documented[noun].insert(verb.to_owned());
        }
    }
    let known = |verbs: &[&str]| -> BTreeSet<String> {
        verbs.iter().map(|verb| (*verb).to_owned()).collect()
    };
    assert_eq!(documented, verbs().map(known));
}

#[test]
fn every_operation_is_described() {
    let document = serde_json::to_value(document()).unwrap();
    let mut ids = BTreeSet::new();
    for (method, path) in operations() {
        let operation = &document["paths"][&path][method.to_lowercase()];
        let name = format!("{method} {path}");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        assert!(ids.insert(operation["operationId"].to_string()), "{name}: {operation}");
        let open = OPEN.contains(&name.as_str());
        assert_eq!(operation["security"].is_null(), open, "{name}");
        assert!(open || operation["responses"]["default"].is_object(), "{name}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let words = response["description"].as_str();
            assert!(words.is_some_and(|text| !text.is_empty()), "{name}: {status}");
        }
    }
    // What is shown as text is documented as that text.
    assert_eq!(
        document["components"]["schemas"]["Desired"]["enum"],
        json!(["running", "shutdown", "deleted"])
    );
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

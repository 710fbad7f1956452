//! Lists in pages.

use serde_json::json;

use crate::{client::call, support::fixture};

#[tokio::test]
async fn pages_follow_on_without_gaps_or_repetitions() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 3).await;
    for number in 0..7 {
        call("POST", "/v1/clusters/demo/topics")
            .key(&f.admin_key)
            .json(&json!({ "name": format!("t{number}"), "partitions": 1 }))
            .send(&router)
            .await
            .ok(201);
        f.cluster(&format!("c{number}"), 1).await;
    }
    for (path, field, expected) in [
        ("/v1/clusters/demo/topics", "name", 7),
        ("/v1/clusters", "name", 8),
        ("/v1/clusters/demo/spus", "spu_id", 3),
    ] {
        for limit in [1, 3, 7, 500] {
            let (mut found, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = format!("{path}?limit={limit}{cursor}");
                let page = call("GET", &page).key(&f.admin_key).send(&router).await.ok(200);
                let items = page["items"].as_array().unwrap();
                assert!(items.len() <= limit);
                found.extend(items.iter().map(|item| item[field].to_string()));
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            let mut sorted = found.clone();
            sorted.sort();
            sorted.dedup();
            assert_eq!(sorted, found, "{path} by {limit}");
            assert_eq!(found.len(), expected, "{path} by {limit}");
        }
    }
}

#[tokio::test]
async fn what_no_list_takes_is_refused() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 1).await;
    f.cluster("more", 1).await;
    let page = call("GET", "/v1/clusters?limit=1").key(&f.admin_key).send(&router).await.ok(200);
    let foreign = format!("cursor={}", page["next_cursor"].as_str().unwrap());
    for query in [
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=x",
        "cursor=!",
        "cursor=YQ",
        "cursor=dG9waWNzOgA",
        "cursor=%00",
        "page=2",
        &foreign,
    ] {
        let path = format!("/v1/clusters/demo/topics?{query}");
        let answer = call("GET", &path).key(&f.admin_key).send(&router).await;
        answer.problem(400, "INVALID_REQUEST");
    }
}

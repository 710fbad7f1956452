//! Data-plane tokens, as an SPU verifies them.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use serde_json::json;
use weir_control_plane::store::types::KeyScope;
use weir_protocol::token::{Claims, ISSUER, Scope};

use crate::{
    client::call,
    support::{Fixture, add_key, fixture},
};

fn verified(f: &Fixture, token: &str) -> Claims {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, body) = signed.split_once('.').unwrap();
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&decode(header)).unwrap();
    let keys = f.app.signer.token_keys().keys;
    let key = keys.iter().find(|key| header["kid"] == key.key_id).unwrap();
    let public = VerifyingKey::from_bytes(&key.public_key[..].try_into().unwrap()).unwrap();
    let signature = Signature::from_slice(&decode(signature)).unwrap();
    public.verify(signed.as_bytes(), &signature).unwrap();
    serde_json::from_slice(&decode(body)).unwrap()
}

#[tokio::test]
async fn a_token_says_who_where_what_and_until_when() {
    let f = fixture().await;
    let router = f.router();
    let cluster = f.cluster("demo", 1).await;
    let issue = || call("POST", "/v1/clusters/demo:token").key(&f.admin_key);
    for (call, scopes) in [
        (issue(), vec![Scope::Produce, Scope::Consume]),
        (issue().json(&json!({})), vec![Scope::Produce, Scope::Consume]),
        (issue().json(&json!({ "scopes": ["consume"] })), vec![Scope::Consume]),
    ] {
        let issued = call.send(&router).await.ok(200);
        let claims = verified(&f, issued["token"].as_str().unwrap());
        assert_eq!(claims.iss, ISSUER);
        assert_eq!(claims.sub, f.admin.key_id.to_string());
        assert_eq!((claims.org, claims.cluster), (f.admin.org, cluster.id));
        assert_eq!(claims.scopes, scopes);
        assert_eq!(claims.exp - claims.iat, 15 * 60);
        assert!((f.app.now_unix_ms() / 1000 - claims.iat).abs() < 60);
        assert_eq!(issued["expires_at_unix_ms"], claims.exp * 1000);
        assert_eq!(issued["cluster_id"], cluster.id.to_string());
        assert_eq!(issued["endpoints"], json!([]));
    }
    for scopes in [json!(["internal"]), json!(["admin"]), json!("produce")] {
        let answer = issue().json(&json!({ "scopes": scopes })).send(&router).await;
        answer.problem(400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn a_key_passes_on_only_what_it_may() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 1).await;
    let (_, key) = add_key(&f.app, f.admin.org, &[KeyScope::Produce]).await;
    let issue = || call("POST", "/v1/clusters/demo:token").key(&key);
    let issued = issue().send(&router).await.ok(200);
    assert_eq!(verified(&f, issued["token"].as_str().unwrap()).scopes, [Scope::Produce]);
    let more = issue().json(&json!({ "scopes": ["produce", "consume"] })).send(&router).await;
    more.problem(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_cluster_that_should_not_run_gets_none() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 1).await;
    let post = |verb: &str| call("POST", &format!("/v1/clusters/demo:{verb}")).key(&f.admin_key);
    post("shutdown").send(&router).await.ok(202);
    let problem = post("token").send(&router).await.problem(409, "CLUSTER_SHUT_DOWN");
    assert!(problem["hint"].as_str().unwrap().contains("weir cluster resume demo"));
}

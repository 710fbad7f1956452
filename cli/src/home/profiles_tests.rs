//! What profiles remember, and what they forget.

use super::*;

pub fn cluster(name: &str, endpoints: &[&str]) -> Cluster {
    let spus: Vec<_> = endpoints
        .iter()
        .enumerate()
        .map(|(index, endpoint)| {
            serde_json::json!({"spu_id": index + 1, "state": "online", "endpoint": endpoint})
        })
        .collect();
    serde_json::from_value(serde_json::json!({
        "id": "cl_00000000000000000000000000000007",
        "org_id": "org_00000000000000000000000000000001",
        "name": name, "desired": "running", "state": "running",
        "spec": {"spus": endpoints.len()}, "spus": spus,
    }))
    .unwrap()
}

#[test]
fn they_survive_a_round_trip() {
    let base = tempfile::tempdir().unwrap();
    let home = Home::find(Some(base.path().to_owned())).unwrap();
    assert_eq!(Profiles::load(&home).unwrap(), Profiles::default());
    let mut profiles = Profiles { current: Some("a".into()), ..Profiles::default() };
    assert!(profiles.learn(&cluster("a", &["127.0.0.1:9500"]), "http://x:1", "k"));
    profiles.save(&home).unwrap();
    assert_eq!(Profiles::load(&home).unwrap(), profiles);
}

#[tokio::test]
async fn changes_at_once_are_all_kept() {
    let base = tempfile::tempdir().unwrap();
    let home = Home::find(Some(base.path().to_owned())).unwrap();
    // Whoever has read them must write them before others read.
    let held = ProfilesLock::acquire(&home, Clock).await.unwrap();
    let change = |name: &'static str| {
        let home = home.clone();
        async move {
            let learn = |profiles: &mut Profiles| profiles.learn(&cluster(name, &[]), "", "");
            Profiles::update(&home, Clock, learn).await.unwrap()
        }
    };
    let mut first = std::pin::pin!(change("a"));
    assert!(futures::FutureExt::now_or_never(first.as_mut()).is_none(), "it did not wait");
    drop(held);
    futures::join!(first, change("b"), change("c"));
    let names: Vec<_> = Profiles::load(&home).unwrap().clusters.into_keys().collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn what_cannot_be_understood_says_what_to_do() {
    let base = tempfile::tempdir().unwrap();
    let home = Home::find(Some(base.path().to_owned())).unwrap();
    for bad in ["current = ", "version = 9", "\0"] {
        std::fs::write(home.profiles(), bad).unwrap();
        let error = Profiles::load(&home).unwrap_err();
        assert!(error.to_string().contains("profiles.toml"), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn endpoints_are_kept_while_the_spus_are_away() {
    let mut profiles = Profiles::default();
    profiles.learn(&cluster("a", &["127.0.0.1:9500"]), "http://x:1", "k");
    assert!(!profiles.learn(&cluster("a", &[]), "http://x:1", "k"));
    assert_eq!(profiles.clusters["a"].endpoints, ["127.0.0.1:9500"]);
    let mut recreated = cluster("a", &[]);
    recreated.id = "cl_00000000000000000000000000000008".parse().unwrap();
    assert!(profiles.learn(&recreated, "http://x:1", "k"));
    assert!(profiles.clusters["a"].endpoints.is_empty());
}

#[test]
fn a_folder_of_its_own_is_kept_and_whose_it_is() {
    let home = Home::find(Some("/h".into())).unwrap();
    let mut own = cluster("a", &[]);
    own.spec.data_dir = Some("/srv/weir".into());
    let mut profiles = Profiles::default();
    profiles.learn(&own, "u", HOME_KEY);
    let profile = profiles.clusters.get_mut("a").unwrap();
    assert_eq!(profile.data_folder(&home), PathBuf::from(format!("/srv/weir/{}", own.id)));
    profile.data_dir_made = Some("/srv".into());
    assert!(!profiles.learn(&own, "u", HOME_KEY), "it was known");
    assert!(profiles.clusters["a"].data_dir_made.is_some());
    profiles.learn(&cluster("b", &[]), "u", HOME_KEY);
    let folder = profiles.clusters["b"].data_folder(&home);
    assert_eq!(folder, PathBuf::from(format!("/h/clusters/{}", own.id)));
    // That of another control plane lies elsewhere.
    profiles.learn(&Cluster { name: "c".into(), ..own }, "u", "keys/far");
    assert_eq!(profiles.clusters["c"].data_dir, None);
}

#[test]
fn a_forgotten_current_one_leaves_none_however_many_are_left() {
    let mut profiles = Profiles::default();
    profiles.learn(&cluster("a", &[]), "", "");
    profiles.learn(&cluster("b", &[]), "", "");
    profiles.current = Some("a".into());
    profiles.forget("a");
    assert_eq!(profiles.current, None);
    profiles.current = Some("b".into());
    profiles.forget("a");
    assert_eq!(profiles.current.as_deref(), Some("b"));
}

#[test]
fn another_control_plane_s_profile_is_left_alone_and_a_renamed_one_is_found() {
    let mut profiles = Profiles::default();
    let remote = Profile::remote(&cluster("a", &[]), "http://far:1", "keys/1");
    profiles.clusters.insert("a".into(), remote.clone());
    assert!(!profiles.learn(&cluster("a", &["h:1"]), "http://x:1", HOME_KEY));
    assert_eq!(profiles.clusters["a"], remote);
    profiles.learn(&cluster("b", &[]), "http://x:1", HOME_KEY);
    let renamed = profiles.clusters.remove("b").unwrap();
    profiles.clusters.insert("c".into(), Profile { cluster: Some("b".into()), ..renamed });
    assert!(profiles.learn(&cluster("b", &["h:1"]), "http://x:1", HOME_KEY));
    assert!(profiles.clusters.keys().eq(["a", "c"]));
    assert_eq!(profiles.clusters["c"].endpoints, ["h:1"]);
}

#[test]
fn names_are_checked() {
    assert_eq!(check_name("prod.eu-1_x"), Ok(()));
    for bad in ["", "..", "a b", "a/b", &"x".repeat(64)] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}

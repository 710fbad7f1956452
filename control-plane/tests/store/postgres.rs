//! What only a database that is a server of its own can do: go away, refuse, be slow.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use weir_control_plane::store::{
    ConnectError, Database, DbError, Mode, PostgresDatabase, Transaction, Value,
};
use weir_runtime::{
    clock::Clock,
    net::Listener,
    task::{self, CancellationToken},
};

use crate::support::database::postgres::{administrator, open, url};

async fn table(db: &dyn Database) {
    let mut tx = db.begin(Mode::Write).await.unwrap();
    tx.execute("CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY)", vec![]).await.unwrap();
    tx.commit().await.unwrap();
}

async fn insert(tx: &mut Box<dyn Transaction>, a: &str) -> Result<u64, DbError> {
    tx.execute("INSERT INTO t (a) VALUES ($1)", vec![Value::from(a)]).await
}

async fn count(db: &dyn Database) -> i64 {
    let mut tx = db.begin(Mode::Read).await.unwrap();
    let rows = tx.query("SELECT count(*) AS n FROM t", vec![]).await.unwrap();
    rows[0].get("n").unwrap()
}

/// Ends the session of the transaction, as a server that is shut down does; waits until it
/// is gone.
async fn end_session(tx: &mut Box<dyn Transaction>) {
    let rows = tx.query("SELECT pg_backend_pid() AS pid", vec![]).await.unwrap();
    let pid: i64 = rows[0].get("pid").unwrap();
    let pid = i32::try_from(pid).unwrap();
    let ended: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1, 10000)")
        .bind(pid)
        .fetch_one(&mut administrator().await)
        .await
        .unwrap();
    assert!(ended);
}

#[tokio::test]
async fn a_commit_without_an_answer_is_unknown() {
    let folder = TempDir::new().unwrap();
    let db = open(&folder).await;
    table(&db).await;
    let mut tx = db.begin(Mode::Write).await.unwrap();
    insert(&mut tx, "x").await.unwrap();
    end_session(&mut tx).await;
    let lost = tx.commit().await.unwrap_err();
    assert!(matches!(lost, DbError::CommitUnknown { .. }), "{lost:?}");
    // And the next one has a connection that works.
    let mut tx = db.begin(Mode::Write).await.unwrap();
    insert(&mut tx, "x").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&db).await, 1);
}

#[tokio::test]
async fn a_session_that_ends_before_the_commit_did_nothing() {
    let folder = TempDir::new().unwrap();
    let db = open(&folder).await;
    table(&db).await;
    let mut tx = db.begin(Mode::Write).await.unwrap();
    insert(&mut tx, "x").await.unwrap();
    end_session(&mut tx).await;
    let error = insert(&mut tx, "y").await.unwrap_err();
    assert!(matches!(error, DbError::Unavailable { .. }), "{error:?}");
    assert!(error.retriable());
    assert_eq!(tx.commit().await, Err(DbError::Aborted));
    assert_eq!(count(&db).await, 0);
}

#[tokio::test]
async fn whoever_waits_too_long_for_its_turn_is_told() {
    let folder = TempDir::new().unwrap();
    let (one, two) = (open(&folder).await, open(&folder).await);
    table(&one).await;
    let mut held = one.begin(Mode::Write).await.unwrap();
    insert(&mut held, "x").await.unwrap();
    // In this process and in another one.
    let (here, there) = tokio::join!(one.begin(Mode::Write), two.begin(Mode::Write));
    assert_eq!(here.err(), Some(DbError::Busy));
    assert_eq!(there.err(), Some(DbError::Busy));
    held.commit().await.unwrap();
    let mut tx = two.begin(Mode::Write).await.unwrap();
    insert(&mut tx, "y").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&one).await, 2);
}

#[tokio::test]
async fn what_a_database_does_not_know_is_said_at_once() {
    let folder = TempDir::new().unwrap();
    let right = url(&folder).await.expose_secret().to_owned();
    let name = right.rsplit_once('/').unwrap().1.split_once('?').unwrap().0;
    let missing = SecretString::from(right.replace(name, "no-such-database"));
    let error = PostgresDatabase::connect(&missing, Clock).await.err().unwrap();
    assert!(matches!(&error, ConnectError::Missing { name, .. } if name == "no-such-database"));
    let (_, after) = right.split_once('@').unwrap();
    let stranger = SecretString::from(format!("postgres://stranger:s3cret@{after}"));
    let error = PostgresDatabase::connect(&stranger, Clock).await.err().unwrap();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_server_that_comes_later_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let right = url(&folder).await.expose_secret().to_owned();
    let (before, after) = right.split_once('@').unwrap();
    let (server, path) = after.split_once('/').unwrap();
    let server = server.to_owned();
    // Nobody listens there yet.
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let later = SecretString::from(format!("{before}@{address}/{path}"));
    let waiting = task::spawn(async move { PostgresDatabase::connect(&later, Clock).await });
    tokio::task::yield_now().await;
    let listener = Listener::bind(&address.to_string()).await.unwrap();
    let proxy = task::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let server = server.clone();
            drop(task::spawn(async move {
                let mut far = weir_runtime::net::connect(&server).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
            }));
        }
    });
    let db: Arc<dyn Database> = Arc::new(waiting.await.unwrap().unwrap());
    table(&*db).await;
    assert_eq!(count(&*db).await, 0);
    proxy.abort();
}

/// Who holds the lock that keeps other control planes out of a database.
async fn holders(database: &str) -> Vec<i32> {
    sqlx::query_scalar(
        "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
         WHERE l.locktype = 'advisory' AND l.granted AND d.datname = $1",
    )
    .bind(database)
    .fetch_all(&mut administrator().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn others_are_kept_out_until_all_has_ended_and_again_after_a_loss() {
    let folder = TempDir::new().unwrap();
    let url = url(&folder).await.expose_secret().to_owned();
    let database = url.rsplit_once('/').unwrap().1.split_once('?').unwrap().0;
    let (one, two) = (open(&folder).await, open(&folder).await);
    let shutdown = CancellationToken::new();
    let alone = one.keep_others_out(shutdown.clone()).await.unwrap();
    let [first] = holders(database).await[..] else { panic!("one holds it") };
    let ended: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1, 10000)")
        .bind(first)
        .fetch_one(&mut administrator().await)
        .await
        .unwrap();
    assert!(ended);
    let begin = Clock.now();
    while holders(database).await.is_empty() {
        assert!(Clock.now().since(begin) < Duration::from_secs(30), "never held again");
        Clock.sleep(Duration::from_millis(20)).await;
    }
    assert!(!shutdown.is_cancelled(), "nobody else took it");
    // While requests drain it is still held.
    shutdown.cancel();
    let second = task::spawn(async move { two.keep_others_out(CancellationToken::new()).await });
    tokio::task::yield_now().await;
    assert_eq!(holders(database).await.len(), 1);
    assert!(!second.is_finished());
    drop(alone);
    let _alone = second.await.unwrap().unwrap();
}
